//! The options of curl.

/// Those that take a word and say something of the request.
const WITH_WORD: &str = "\
    request url header data data-ascii data-raw data-binary data-urlencode json url-query user-agent user \
    oauth2-bearer referer range cookie form form-string upload-file config time-cond";

/// Those that take a word and say nothing of it.
const PASSED_WITH_WORD: &str = "\
    cacert capath cert cert-type ciphers config-file connect-timeout connect-to cookie-jar curves dns-servers \
    doh-url dump-header happy-eyeballs-timeout-ms interface keepalive-time key key-type limit-rate local-port \
    max-filesize max-redirs max-time noproxy output output-dir pass preproxy proxy proxy-user resolve retry \
    retry-delay retry-max-time socks5 socks5-hostname speed-limit speed-time stderr tls-max trace trace-ascii \
    unix-socket write-out";

/// Those that take nothing and say nothing of it.
const PASSED: &str = "\
    basic compressed-ssh create-dirs fail fail-early fail-with-body globoff http0.9 http1.1 http2 \
    http2-prior-knowledge http3 http3-only include insecure ipv4 ipv6 junk-session-cookies location \
    location-trusted no-alpn no-buffer no-keepalive no-progress-meter no-sessionid parallel path-as-is \
    progress-bar remote-header-name remote-name remote-time retry-all-errors retry-connrefused show-error \
    show-headers silent ssl ssl-reqd styled-output tcp-fastopen tcp-nodelay tlsv1 tlsv1.0 tlsv1.1 tlsv1.2 tlsv1.3 \
    tr-encoding trace-time verbose";

/// The long names of the short options.
const SHORT: &str = "\
    A:user-agent b:cookie c:cookie-jar D:dump-header d:data E:cert e:referer F:form f:fail G:get g:globoff \
    H:header I:head i:include j:junk-session-cookies k:insecure L:location m:max-time N:no-buffer n:netrc o:output \
    O:remote-name #:progress-bar q:disable r:range R:remote-time S:show-error s:silent T:upload-file u:user \
    v:verbose w:write-out X:request x:proxy Y:speed-limit y:speed-time Z:parallel z:time-cond 0:http1.0 1:tlsv1 \
    2:sslv2 4:ipv4 6:ipv6 K:config J:remote-header-name U:proxy-user";

/// Whether a word stands behind an option.
pub(super) fn takes_word(name: &str) -> bool {
    stands_in(WITH_WORD, name) || stands_in(PASSED_WITH_WORD, name)
}

/// Whether an option says nothing of the request: where its answer goes, how it is reached, and the like.
pub(super) fn is_passed(name: &str) -> bool {
    stands_in(PASSED, name) || stands_in(PASSED_WITH_WORD, name)
}

/// The long name of a short option.
pub(super) fn long(letter: char) -> Option<&'static str> {
    let mut options = SHORT.split(' ');
    options.find_map(|option| option.strip_prefix(letter)?.strip_prefix(':'))
}

fn stands_in(names: &str, name: &str) -> bool {
    names.split(' ').any(|other| other == name)
}
