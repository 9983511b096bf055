use super::super::request::Request;
use super::super::words::words;

fn read(text: &str) -> Result<Request, String> {
    super::request(&words(text).unwrap())
}

fn shown(request: &Request) -> String {
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"));
    let headers: Vec<_> = headers.collect();
    let body = request
        .body
        .as_ref()
        .map(|body| String::from_utf8_lossy(body).into_owned());
    format!(
        "{} {}{} [{}] {}",
        request.method,
        request.authority,
        request.path,
        headers.join(", "),
        body.unwrap_or_default()
    )
}

#[test]
fn a_request_is_what_curl_would_send() {
    const OWN: &str = "User-Agent: curl/8.0.0, Accept: */*";
    const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
    for (text, sent) in [
        ("curl http://h/a", format!("GET h/a [{OWN}] ")),
        ("h:1", format!("GET h:1/ [{OWN}] ")),
        ("curl -sSN http://h/a -d x -d 'y z'", format!("POST h/a [{OWN}, {FORM}] x&y z")),
        ("curl -XPUT h --data-raw @x", format!("PUT h/ [{OWN}, {FORM}] @x")),
        ("curl --json '{\"a\":' --json '1}' h", "POST h/ [User-Agent: curl/8.0.0, Accept: application/json, Content-Type: application/json] {\"a\":1}".to_owned()),
        ("curl -Gd a=b 'h/?c' --data-urlencode 'd=e f'", format!("GET h/?c&a=b&d=e%20f [{OWN}] ")),
        ("curl -I h -H 'Accept:' -H 'x-a: b' -H 'x-e;' -Hx-c:d", "HEAD h/ [User-Agent: curl/8.0.0, x-a: b, x-e: , x-c: d] ".to_owned()),
        ("curl -u me:secret h", format!("GET h/ [{OWN}, Authorization: Basic bWU6c2VjcmV0] ")),
        ("curl http://me:s@h/", format!("GET h/ [{OWN}, Authorization: Basic bWU6cw==] ")),
        ("curl --oauth2-bearer K -A me -e r -b a=b --compressed h", "GET h/ [User-Agent: me, Accept: */*, Authorization: Bearer K, Referer: r, Cookie: a=b, Accept-Encoding: deflate, gzip, br, zstd] ".to_owned()),
        ("curl -o f -w '%{http_code}' -m 5 --cacert ca --url h -H 'Content-Type: application/json' -d {}", format!("POST h/ [{OWN}, Content-Type: application/json] {{}}")),
        ("curl --url-query a=b -- h", format!("GET h/?a=b [{OWN}] ")),
    ] {
        let request = read(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(shown(&request), sent, "{text}");
    }
}

#[test]
fn a_body_of_json_that_is_sent_as_a_form_is_told_of() {
    assert_eq!(read("curl h -d {}").unwrap().notes.len(), 1);
    assert!(
        read("curl h -d {} -H 'content-type: application/json'")
            .unwrap()
            .notes
            .is_empty()
    );
    assert!(read("curl h --json {}").unwrap().notes.is_empty());
}

#[test]
fn files_are_read_as_curl_reads_them() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{\r\n1}\n").unwrap();
    let at = file.path().display();
    let body = |text: &str| read(text).unwrap().body.unwrap();
    assert_eq!(body(&format!("curl h -d @{at}")), b"{1}");
    assert_eq!(body(&format!("curl h --data-binary @{at}")), b"{\r\n1}\n");
    assert_eq!(body(&format!("curl h --json @{at}")), b"{\r\n1}\n");
    assert_eq!(
        body(&format!("curl h --data-urlencode a@{at}")),
        b"a=%7B%0D%0A1%7D%0A"
    );
    std::fs::write(file.path(), "x-a: b\n\nx-c: d\n").unwrap();
    assert_eq!(
        read(&format!("curl h -H @{at}")).unwrap().header("x-c"),
        Some("d")
    );
    let missing = read("curl h -d @/nowhere/x").err().unwrap();
    assert!(
        missing.contains("behind an @ or <, is not read"),
        "{missing}"
    );
}

#[test]
fn what_is_not_understood_is_named() {
    for (text, told) in [
        ("curl", "asks for no url"),
        ("curl a b", "more than one url"),
        ("curl a -F x", "-F"),
        ("curl a -F 'x=y;z'", "--form-string"),
        ("curl a -T x", "-T"),
        ("curl a --next b", "--next"),
        ("curl a -sW", "-W"),
        ("curl a -d", "behind -d a word is missing"),
        ("curl a -H nothing", "has no colon"),
        ("curl ftp://a", "another scheme"),
        ("curl a --json=x", "--json WORD"),
        ("curl a --next=x", "the option --next of"),
        (
            "wget h/a",
            "begins with a word that is neither curl nor a url",
        ),
        ("http POST h:8080/a", "neither curl nor a url"),
    ] {
        let fault = read(text).err().unwrap_or_else(|| panic!("{text}"));
        assert!(fault.contains(told), "{text}: {fault}");
    }
}

#[test]
fn a_form_has_the_parts_that_are_written() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "sound").unwrap();
    let at = file.path().display();
    let request = read(&format!("curl h -F model=whisper-1 -F 'file=@{at};filename=a.wav' -F 'text=<{at}' --form-string 'x=@;y'")).unwrap();
    let boundary = request
        .header("content-type")
        .unwrap()
        .split_once("boundary=")
        .unwrap()
        .1;
    let body = String::from_utf8(request.body.clone().unwrap()).unwrap();
    let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
    assert_eq!(
        parts,
        [
            "",
            "\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n",
            "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: application/octet-stream\r\n\r\nsound\r\n",
            "\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nsound\r\n",
            "\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n@;y\r\n",
            "--\r\n",
        ]
    );
    assert_eq!(request.method, "POST");
}
