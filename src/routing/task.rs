//! The tasks of A2A, and the contexts that they are of: where paths name one, and where answers tell of one while they pass, in 1.0
//! and in 0.3, as results of JSON-RPC and as HTTP+JSON has them.

use crate::text::escapes::{decoded, form_decoded};
use crate::text::json::{Member, MemberId, Scan, Search, Value};
use crate::text::paths::{split_once, split_query};

/// Where a task may stand in an answer: by what of it, and whether its context must stand beside it, without which this may be
/// something else.
const PLACES: [(&str, &str, bool); 6] = [
    ("/task", "/id", false),
    ("/message", "/taskId", false),
    ("/statusUpdate", "/taskId", false),
    ("/artifactUpdate", "/taskId", false),
    ("", "/id", true),
    ("", "/taskId", false),
];

/// What a message of JSON-RPC has before each of them.
const BEFORE: [&str; 2] = ["/result", ""];

/// Where answers tell of tasks.
#[derive(Debug)]
pub(super) struct Tasks(Vec<Place>);

#[derive(Debug)]
struct Place {
    task: MemberId,
    context: MemberId,
    needs_context: bool,
}

/// A task that an answer tells of. One of both is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task<'a> {
    /// Its name. `None`: it may be told yet.
    pub task: Option<&'a str>,
    /// The name of its context.
    pub context: Option<&'a str>,
}

impl Tasks {
    pub(super) fn new(search: &mut Search) -> Option<Self> {
        let mut places = Vec::new();
        for before in BEFORE {
            for (inner, task, needs_context) in PLACES {
                let base = [before, inner].concat();
                places.push(Place {
                    task: search.member(&[&base, task].concat()).ok()?,
                    context: search.member(&[&base, "/contextId"].concat()).ok()?,
                    needs_context,
                });
            }
        }
        Some(Self(places))
    }

    /// The first that a text tells of, once all of it is known.
    pub(super) fn find<'s>(&self, scan: &'s Scan) -> Option<Task<'s>> {
        let is_known = |id| *scan.member(id) != Member::Unknown;
        let text = |id| match scan.member(id) {
            Member::Found(found) => match &found.value {
                Value::Text(text) if !text.is_empty() => Some(&**text),
                _ => None,
            },
            Member::Unknown | Member::Absent => None,
        };
        self.0.iter().find_map(|place| {
            if !is_known(place.task) || !is_known(place.context) {
                return None;
            }
            let (task, context) = (text(place.task), text(place.context));
            let counts = match place.needs_context {
                true => task.is_some() && context.is_some(),
                false => task.is_some() || context.is_some(),
            };
            counts.then_some(Task { task, context })
        })
    }
}

/// What a path says behind the name of a task that is to be done with it.
const VERBS: [&[u8]; 2] = [b":cancel", b":subscribe"];

/// The task that a path names: `…/tasks/NAME`, with what is to be done with it behind a colon or not. The name may have colons too.
#[must_use]
pub fn task_in_path(path: &[u8]) -> Option<Vec<u8>> {
    let segments = split_query(path).0.split(|byte| *byte == b'/');
    let next = segments.clone().skip(1);
    // A prefix may have such a segment too.
    let (_, name) = segments
        .zip(next)
        .filter(|(it, _)| it.eq_ignore_ascii_case(b"tasks"))
        .last()?;
    let mut name = decoded(name, |_| true);
    let of_verb = |verb: &&[u8]| {
        let at = name.len().checked_sub(verb.len())?;
        name.get(at..)?.eq_ignore_ascii_case(verb).then_some(at)
    };
    let end = VERBS.iter().find_map(of_verb);
    name.truncate(end.unwrap_or(name.len()));
    (!name.is_empty()).then_some(name)
}

/// The context whose tasks a path asks for: `…?contextId=NAME`.
#[must_use]
pub fn context_in_path(path: &[u8]) -> Option<Vec<u8>> {
    let mut parameters = split_query(path).1?.split(|byte| *byte == b'&');
    let context = parameters.find_map(|parameter| {
        let (name, value) = split_once(parameter, b'=');
        (form_decoded(name) == b"contextId").then(|| form_decoded(value.unwrap_or_default()))
    });
    context.filter(|name| !name.is_empty())
}

/// What a task, or a context, is remembered by.
#[must_use]
pub fn key_of_task(kind: &str, name: &[u8]) -> Vec<u8> {
    [kind.as_bytes(), b"/", name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Answer, Names, Seen};

    type Told = (Option<String>, Option<String>);

    fn told_of(kind: &str, answer: &str, size: usize) -> Vec<Told> {
        let names = Names::of_tasks().unwrap();
        let Some(mut answer_of) = Answer::new(&names, kind.as_bytes()) else {
            return Vec::new();
        };
        let mut told = Vec::new();
        for piece in answer.as_bytes().chunks(size) {
            match answer_of.feed(piece) {
                Seen::Task(Task { task, context }) => {
                    told.push((task.map(str::to_owned), context.map(str::to_owned)));
                    if task.is_some() {
                        break;
                    }
                }
                Seen::Nothing => {}
                Seen::Name(_) | Seen::NoName => break,
            }
        }
        told
    }

    fn told(kind: &str, answer: &str, size: usize) -> Option<Told> {
        let mut told = told_of(kind, answer, size);
        assert!(told.len() < 2, "{told:?}");
        told.pop()
    }

    #[test]
    fn a_stream_tells_of_its_task_behind_its_context_however_it_is_written() {
        let context = r#"{"result":{"message":{"messageId":"m","contextId":"c-1"}}}"#;
        let task = r#"{"result":{"task":{"id":"t-1","contextId":"c-1"}}}"#;
        let one = |task: Option<&str>| (task.map(str::to_owned), Some("c-1".to_owned()));
        let in_two = task.replace(r#"{"id""#, "{\ndata: \"id\"");
        for (events, first, second) in [
            (
                format!("data: {context}\n\ndata: {context}\n\ndata: {task}\n\n"),
                None,
                Some("t-1"),
            ),
            (format!("\u{feff}data: {task}\n\n"), Some("t-1"), None),
            (
                format!("event: x\r\ndata: {}\r\n\r\n", in_two.replace('\n', "\r\n")),
                Some("t-1"),
                None,
            ),
            (format!("data: {in_two}\n\n"), Some("t-1"), None),
            (
                format!("data: {context}\n\ndata: {in_two}\n\n"),
                None,
                Some("t-1"),
            ),
        ] {
            for size in [1, 2, 7] {
                let told = told_of("text/event-stream", &events, size);
                let expected: Vec<_> = std::iter::once(one(first))
                    .chain(second.map(|it| one(Some(it))))
                    .collect();
                assert_eq!(told, expected, "{events} {size}");
            }
            // What comes at once is told at once.
            let told = told_of("text/event-stream", &events, 10_000);
            assert_eq!(told, [one(Some("t-1"))], "{events}");
        }
        let with_mark = format!("\u{feff}{task}");
        for size in [1, 2, 100] {
            for kind in [
                "application/json",
                "application/vnd.a2a+json; charset=utf-8",
            ] {
                assert_eq!(
                    told(kind, &with_mark, size),
                    Some(one(Some("t-1"))),
                    "{kind} {size}"
                );
            }
        }
    }

    #[test]
    fn answers_tell_of_their_tasks_in_every_version_and_binding() {
        let both = Some((Some("t-1".to_owned()), Some("c-1".to_owned())));
        let context = Some((None, Some("c-1".to_owned())));
        for (answer, expected) in [
            // 0.3, and GetTask of 1.0.
            (
                r#"{"id":1,"jsonrpc":"2.0","result":{"contextId":"c-1","id":"t-1","history":[{"taskId":"x"}],"kind":"task"}}"#,
                &both,
            ),
            (
                r#"{"id":"1","result":{"kind":"message","messageId":"m","contextId":"c-1"}}"#,
                &context,
            ),
            (
                r#"{"id":"1","result":{"kind":"status-update","taskId":"t-1","contextId":"c-1"}}"#,
                &both,
            ),
            // 1.0
            (
                r#"{"id":"1","result":{"task":{"id":"t-1","contextId":"c-1","status":{"message":{"taskId":"x"}}}}}"#,
                &both,
            ),
            (
                r#"{"result":{"message":{"messageId":"m","taskId":"t-1","contextId":"c-1"}},"id":"1"}"#,
                &both,
            ),
            (
                r#"{"result":{"statusUpdate":{"taskId":"t-1","contextId":"c-1"}}}"#,
                &both,
            ),
            (
                r#"{"result":{"artifactUpdate":{"taskId":"t-1","contextId":"c-1"}}}"#,
                &both,
            ),
            (r#"{"task":{"id":"t-1","contextId":"c-1"}}"#, &both),
            (r#"{"id":"t-1","contextId":"c-1","status":{}}"#, &both),
            // No tasks.
            (r#"{"id":"1","jsonrpc":"2.0","result":{}}"#, &None),
            (
                r#"{"id":"1","error":{"code":-32001,"message":"no"}}"#,
                &None,
            ),
            (
                r#"{"id":"1","result":{"tasks":[{"id":"t-2","contextId":"c-2"}]}}"#,
                &None,
            ),
            (
                r#"{"id":"1","result":{"id":"t-1","id":"t-2","contextId":"c-1"}}"#,
                &None,
            ),
            (r#"[{"id":"t-1","contextId":"c-1"}]"#, &None),
            ("", &None),
        ] {
            for size in [1, 7, 1000] {
                for kind in ["application/json", "application/a2a+json"] {
                    assert_eq!(&told(kind, answer, size), expected, "{answer} {size}");
                }
                let events =
                    format!(": hello\r\n\r\ndata: {{\"a\":1}}\n\ndata: {answer}\n\ndata: x\n\n");
                assert_eq!(
                    &told("text/event-stream", &events, size),
                    expected,
                    "{events}"
                );
            }
        }
        assert_eq!(told("text/html", r#"{"task":{"id":"t-1"}}"#, 9), None);
    }

    #[test]
    fn paths_name_tasks() {
        for (path, name) in [
            ("/a2a/tasks/t-1", Some("t-1")),
            ("/v1/tasks/t-1:cancel?x", Some("t-1")),
            ("/v1/tasks/urn:uuid:1:Cancel", Some("urn:uuid:1")),
            ("/v1/tasks/urn:uuid:1", Some("urn:uuid:1")),
            ("/v1/tasks/urn%3auuid%3A1%3Asubscribe", Some("urn:uuid:1")),
            ("/tasks/a%20b%2Fc:subscribe", Some("a b/c")),
            ("/Tasks/t-1", Some("t-1")),
            ("/tasks/t-1/pushNotificationConfigs/c", Some("t-1")),
            ("/tasks/t-1/pushNotificationConfigs/tasks", Some("t-1")),
            ("/tasks/of-a-team/tasks/t-1", Some("t-1")),
            ("/tasks", None),
            ("/tasks/", None),
            ("/tasks/:cancel", None),
            ("/message:send", None),
            ("/?tasks/t-1", None),
        ] {
            assert_eq!(
                task_in_path(path.as_bytes()).as_deref(),
                name.map(str::as_bytes),
                "{path}"
            );
        }
        for (path, name) in [
            ("/tasks?pageSize=1&contextId=c-1", Some("c-1")),
            ("/tasks?context%49d=c%201+2&contextId=x", Some("c 1 2")),
            ("/tasks?contextId=", None),
            ("/tasks?contextid=c", None),
            ("/contextId=c", None),
        ] {
            assert_eq!(
                context_in_path(path.as_bytes()).as_deref(),
                name.map(str::as_bytes),
                "{path}"
            );
        }
    }
}
