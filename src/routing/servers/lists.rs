//! Lists of several servers as one: every item by its name for callers, and all else of it as it came.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::message::{Failed, Read};
use super::names::{Kind, joined};
use crate::text::json::parts::Parts;
use crate::text::json::{Found, Member, Scan, Search, Value};

/// Longer ones no client could send back: so much of a text is read.
const LONGEST_CURSOR: usize = crate::text::json::LONGEST_VALUE;

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// By `tools/list`.
    Tools,
    /// By `prompts/list`.
    Prompts,
    /// By `resources/list`.
    Resources,
    /// By `resources/templates/list`.
    Templates,
}

impl List {
    /// What a method asks for.
    #[must_use]
    pub fn of(method: &str) -> Option<Self> {
        match method {
            "tools/list" => Some(Self::Tools),
            "prompts/list" => Some(Self::Prompts),
            "resources/list" => Some(Self::Resources),
            "resources/templates/list" => Some(Self::Templates),
            _ => None,
        }
    }

    /// The member of the result in which they are, and that of each by which it is named.
    fn members(self) -> (&'static str, &'static str, Kind) {
        match self {
            Self::Tools => ("tools", "/name", Kind::Name),
            Self::Prompts => ("prompts", "/name", Kind::Name),
            Self::Resources => ("resources", "/uri", Kind::Uri),
            Self::Templates => ("resourceTemplates", "/uriTemplate", Kind::Uri),
        }
    }
}

/// A list that is made of those of several servers.
#[derive(Debug)]
pub struct Page {
    list: List,
    items: Vec<u8>,
    cursors: Cursors,
}

/// For each server that has more to tell, where it goes on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cursors(Vec<(String, String)>);

impl Cursors {
    /// What a caller sends back of what it was told. `None`: it was told nothing of the kind.
    #[must_use]
    pub fn read(told: &str) -> Option<Self> {
        let mut cursors = Vec::new();
        for part in told.split(':') {
            let (server, cursor) = part.split_once('.')?;
            let cursor = URL_SAFE_NO_PAD.decode(cursor).ok()?;
            cursors.push((server.to_owned(), String::from_utf8(cursor).ok()?));
        }
        Some(Self(cursors))
    }

    /// Where a server goes on. `None`: it has told everything.
    #[must_use]
    pub fn of(&self, server: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name == server);
        found.map(|(_, cursor)| cursor.as_str())
    }

    /// What callers are told, and the servers for which there is no room in it. `None`: no server has more.
    fn write(&self) -> (Option<String>, Vec<&str>) {
        let (mut told, mut left_out) = (String::new(), Vec::new());
        for (server, cursor) in &self.0 {
            let part = [server, ".", &URL_SAFE_NO_PAD.encode(cursor)].concat();
            if told.len() + part.len() >= LONGEST_CURSOR {
                left_out.push(server.as_str());
                continue;
            }
            if !told.is_empty() {
                told.push(':');
            }
            told.push_str(&part);
        }
        ((!told.is_empty()).then_some(told), left_out)
    }
}

impl Page {
    /// One without anything.
    #[must_use]
    pub fn new(list: List) -> Self {
        Self {
            list,
            items: Vec::new(),
            cursors: Cursors::default(),
        }
    }

    /// Takes over what a server lists, as far as the caller may see it. An item without one name that can be read is left out.
    ///
    /// # Errors
    /// When its answer is no such list.
    pub fn take(
        &mut self,
        server: &str,
        message: &[u8],
        may_see: &dyn Fn(&str) -> bool,
    ) -> Result<(), Failed> {
        let (array, name, kind) = self.list.members();
        let array = ["/result/", array].concat();
        let read = Read::new(message, &[&array, "/result/nextCursor"])?;
        let (start, written) = read.written(0).ok_or(Failed::Unreadable)?;
        if !written.starts_with('[') {
            return Err(Failed::Unreadable);
        }
        let mut search = Search::new();
        let name = search.member(name).map_err(|_| Failed::Unreadable)?;
        let search = Rc::new(search);
        for part in Parts::of(message, start) {
            let item = message.get(part.value).unwrap_or_default();
            let mut scan = Scan::new(Rc::clone(&search));
            let is_sound = scan.feed(item).is_ok() && scan.end().is_ok();
            let Member::Found(Found {
                value: Value::Text(own),
                start,
                end: Some(end),
            }) = scan.member(name)
            else {
                continue;
            };
            let named = joined(kind, server, own);
            if !is_sound || !may_see(&named) {
                continue;
            }
            let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            if !self.items.is_empty() {
                self.items.push(b',');
            }
            let named = serde_json::Value::from(named).to_string();
            for part in [
                item.get(..bound(*start)).unwrap_or_default(),
                named.as_bytes(),
                item.get(bound(*end)..).unwrap_or_default(),
            ] {
                self.items.extend_from_slice(part);
            }
        }
        match read.member(1) {
            Member::Found(Found {
                value: Value::Text(cursor),
                ..
            }) => self
                .cursors
                .0
                .push((server.to_owned(), (**cursor).to_owned())),
            Member::Found(Found {
                value: Value::Null, ..
            })
            | Member::Absent
            | Member::Unknown => {}
            // One that cannot be told to anybody.
            Member::Found(_) => self
                .cursors
                .0
                .push((server.to_owned(), " ".repeat(LONGEST_CURSOR))),
        }
        Ok(())
    }

    /// The servers of which a part is missing: where they go on cannot be told.
    #[must_use]
    pub fn without_room(&self) -> Vec<String> {
        let (_, left_out) = self.cursors.write();
        left_out.into_iter().map(str::to_owned).collect()
    }

    /// The result. `more` stands behind its members.
    #[must_use]
    pub fn result(&self, more: &str) -> Vec<u8> {
        let (array, _, _) = self.list.members();
        let (cursor, _) = self.cursors.write();
        let cursor = cursor.map(|it| [",\"nextCursor\":\"", &it, "\""].concat());
        [
            b"{\"",
            array.as_bytes(),
            b"\":[",
            &self.items,
            b"]",
            cursor.unwrap_or_default().as_bytes(),
            more.as_bytes(),
            b"}",
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(list: List, answers: &[(&str, &str)]) -> (String, Vec<String>) {
        let mut page = Page::new(list);
        for (server, answer) in answers {
            page.take(server, answer.as_bytes(), &|name| !name.contains("secret"))
                .unwrap_or_else(|failed| panic!("{failed:?} {answer}"));
        }
        let result = page.result(",\"x\":1");
        (String::from_utf8(result).unwrap(), page.without_room())
    }

    #[test]
    fn items_keep_all_but_their_names() {
        let cases = [
            (
                List::Tools,
                r#"{"id":1,"result":{"tools":[ {"name" : "re\u0061d","inputSchema":{"name":"x"}} ,{"description":"]","name":"secret"},{"name":"q\""}],"ttlMs":5}}"#,
                r#"{"tools":[{"name" : "a__read","inputSchema":{"name":"x"}},{"name":"a__q\""}],"x":1}"#,
            ),
            (
                List::Prompts,
                r#"{"result":{"prompts":[{"name":"p","arguments":[{"name":"p"}]}],"nextCursor":null}}"#,
                r#"{"prompts":[{"name":"a__p","arguments":[{"name":"p"}]}],"x":1}"#,
            ),
            (
                List::Resources,
                r#"{"result":{"resources":[{"name":"n","uri":"file:///a"}]}}"#,
                r#"{"resources":[{"name":"n","uri":"a+file:///a"}],"x":1}"#,
            ),
            (
                List::Templates,
                r#"{"result":{"resourceTemplates":[{"uriTemplate":"g://{of}"}]}}"#,
                r#"{"resourceTemplates":[{"uriTemplate":"a+g://{of}"}],"x":1}"#,
            ),
            // Whatever may be read as another's name is nobody's.
            (
                List::Tools,
                r#"{"result":{"tools":[{"name":"a","name":"b"},{"name":"a","NAME":"b"},{"name":1},{},"a",[],{"name":"\ud800"},{"name":"c"}]}}"#,
                r#"{"tools":[{"name":"a__c"}],"x":1}"#,
            ),
        ];
        for (list, came, wanted) in cases {
            assert_eq!(page(list, &[("a", came)]).0, wanted);
        }
    }

    #[test]
    fn several_servers_are_one_and_each_goes_on_where_it_stood() {
        let of = |name: &str, cursor: &str| {
            format!(r#"{{"result":{{"tools":[{{"name":"{name}"}}]{cursor}}}}}"#)
        };
        let (one, two) = (
            of("x", r#","nextCursor":"p\u0022:."#.to_owned().as_str()),
            of("x", ""),
        );
        let one = one.replace(":.}", ":.\"}");
        let (result, left_out) = page(List::Tools, &[("a", &one), ("b", &two)]);
        let result: serde_json::Value = serde_json::from_str(&result).unwrap();
        assert_eq!(
            result["tools"],
            serde_json::json!([{"name": "a__x"}, {"name": "b__x"}])
        );
        assert!(left_out.is_empty());
        let cursors = Cursors::read(result["nextCursor"].as_str().unwrap()).unwrap();
        assert_eq!((cursors.of("a"), cursors.of("b")), (Some("p\":."), None));
        let long = of("x", &format!(r#","nextCursor":"{}""#, "c".repeat(800)));
        let (result, left_out) = page(List::Tools, &[("a", &one), ("b", &long)]);
        assert!(result.len() < 200 && left_out == ["b"], "{result}");
        for bad in ["", "a", "a.!", "a.YQ:", "a./w"] {
            assert_eq!(Cursors::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_list_is_none() {
        for (answer, failed) in [
            (r#"{"error":{}}"#, Failed::Refused),
            (r#"{"result":{}}"#, Failed::Unreadable),
            (r#"{"result":{"tools":{}}}"#, Failed::Unreadable),
            (r#"{"result":{"tools":[],"TOOLS":[]}}"#, Failed::Unreadable),
        ] {
            let taken = Page::new(List::Tools).take("a", answer.as_bytes(), &|_| true);
            assert_eq!(taken, Err(failed), "{answer}");
        }
    }
}
