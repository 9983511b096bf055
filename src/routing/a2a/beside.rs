//! The body of a request whose path says what is asked: were there a method of JSON-RPC in it, some agent would do that instead.

use std::rc::Rc;

use super::Asked;
use crate::host::HeaderBlock;
use crate::reply::Form;
use crate::routing::mcp::{BadMessage, unreadable};
use crate::text::json::{Member, MemberId, Scan, Search};

/// What is looked for in such bodies, made once.
#[derive(Debug)]
pub struct Method {
    search: Rc<Search>,
    id: MemberId,
}

impl Default for Method {
    fn default() -> Self {
        let mut search = Search::new();
        // This is a pointer; were it none, it would stand for the whole text, and every body would be bad.
        let id = search.member("/method").unwrap_or_default();
        let search = Rc::new(search);
        Self { search, id }
    }
}

/// Such a body under way.
#[derive(Debug)]
pub struct Beside {
    method: MemberId,
    scan: Scan,
    /// Why it cannot be read, once there is anything of it.
    unreadable: Option<BadMessage>,
    /// What frames it is gRPC's, which nobody reads as JSON.
    framed: bool,
    read: u64,
    /// How many bytes it has, where the request says so.
    length: Option<u64>,
    ended: bool,
    bad: Option<BadMessage>,
}

impl Beside {
    /// That of a request with these headers, of which nothing has come yet. `asked` is what its path says.
    #[must_use]
    pub fn new(method: &Method, headers: &HeaderBlock, asked: &Asked) -> Self {
        let framed = matches!(asked, Asked::Grpc(_)) && is_of_grpc(headers);
        Self {
            method: method.id,
            scan: Scan::new(Rc::clone(&method.search)),
            unreadable: unreadable(headers).filter(|_| !framed),
            framed,
            read: 0,
            length: headers.content_length(),
            ended: false,
            bad: None,
        }
    }

    /// More of it has come.
    pub fn feed(&mut self, piece: &[u8]) {
        let Some(first) = piece.first() else {
            return;
        };
        if self.read == 0 {
            self.framed &= !may_begin_json(*first);
            self.bad = self.unreadable.take();
        }
        self.read = self.read.saturating_add(piece.len() as u64);
        if !self.framed && self.bad.is_none() {
            self.bad = self.scan.feed(piece).err().map(BadMessage::from);
            if matches!(self.scan.member(self.method), Member::Found(_)) {
                self.bad.get_or_insert(BadMessage::BesidePath);
            }
        }
        // An agent that has so many bytes waits for nothing else.
        if self.length == Some(self.read) {
            self.end();
        }
    }

    /// All of it has come.
    pub fn end(&mut self) {
        let had_ended = std::mem::replace(&mut self.ended, true);
        if !had_ended && !self.framed && self.read > 0 && self.bad.is_none() {
            self.bad = self.scan.end().err().map(BadMessage::from);
        }
    }

    /// Why it is not passed on. What comes later may still be a reason.
    #[must_use]
    pub fn bad(&self) -> Option<&BadMessage> {
        self.bad.as_ref()
    }
}

/// Whether it says that it is of gRPC, or of gRPC-Web.
fn is_of_grpc(headers: &HeaderBlock) -> bool {
    let mut types = headers.get_all("content-type");
    types.next().is_some_and(|it| Form::of(it) != Form::Problem) && types.next().is_none()
}

/// Whether a text of JSON that is an object or a list, with whatever some readers let stand before it, may begin with this byte.
fn may_begin_json(byte: u8) -> bool {
    matches!(
        byte,
        b'{' | b'[' | b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xfe | 0xff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a body on a path of gRPC.
    fn bad(content_type: &str, body: &[u8]) -> Option<BadMessage> {
        bad_on(&Asked::Grpc("CancelTask".into()), content_type, body)
    }

    fn bad_on(asked: &Asked, content_type: &str, body: &[u8]) -> Option<BadMessage> {
        let mut all: Vec<_> = [1, 2, 3, 7, usize::MAX]
            .iter()
            .map(|length| {
                let headers = [("content-type", content_type)];
                let headers = HeaderBlock::from_pairs(&headers);
                let mut beside = Beside::new(&Method::default(), &headers, asked);
                assert_eq!(beside.bad(), None, "nothing has come yet");
                body.chunks(*length).for_each(|piece| beside.feed(piece));
                beside.end();
                beside.bad().cloned()
            })
            .collect();
        all.dedup();
        assert_eq!(all.len(), 1, "{content_type} {body:?}: {all:?}");
        all.remove(0)
    }

    #[test]
    fn there_is_no_method_in_it() {
        let json = "application/json";
        let message = br#"{"jsonrpc":"2.0","id":1,"method":"CancelTask","params":{"id":"t"}}"#;
        for (content_type, body) in [
            (json, &message[..]),
            ("application/grpc", message),
            ("application/grpc-web+json", message),
            (json, br#"{"message":{"parts":[]},"\u006dethod":null}"#),
        ] {
            let found = bad(content_type, body);
            assert_eq!(found, Some(BadMessage::BesidePath), "{content_type}");
        }
        // What some reader may find a method in.
        for (content_type, body) in [
            (json, &br#"[{"method":"CancelTask"}]"#[..]),
            (json, br#"{"message":{},"Method":"CancelTask"}"#),
            (json, br#"{"message":{}"#),
            ("text/plain", message),
            ("application/grpc", b" \n{"),
            ("application/grpc", b"\xff\xfe{\0}\0"),
        ] {
            assert!(bad(content_type, body).is_some(), "{content_type} {body:?}");
        }
        for (content_type, body) in [
            (
                json,
                &br#"{"message":{"method":"x","parts":[{"method":1}]}}"#[..],
            ),
            ("application/a2a+json", b"{}"),
            (json, b""),
            ("text/plain", b""),
            ("application/grpc+proto", b"\0\0\0\0\x03\x0a\x01x"),
            ("application/grpc-web-text", b"AAAAAAMKAXg="),
        ] {
            assert_eq!(bad(content_type, body), None, "{content_type} {body:?}");
        }
        // Frames belong to paths of gRPC.
        let operation = Asked::Operation(vec!["SendMessage"]);
        let frames = b"\0{\0}";
        assert!(bad_on(&operation, "application/grpc", frames).is_some());
    }
}
