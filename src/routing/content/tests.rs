use super::*;
use crate::config;
use crate::config::policy::Route;
use crate::text::multipart::BadBoundary;

fn route() -> Route {
    let document = serde_json::json!({
        "agents": {"a": {"cluster": "a"}},
        "routes": [{"prefix": "/", "agents": ["a"], "auth_required": false}],
    });
    config::read(&document).expect("a policy").routes.remove(0)
}

#[test]
fn json_is_told_by_its_type_and_by_nothing_else() {
    for (headers, unread_as) in [
        (&[][..], None),
        (&[("content-type", "application/json")], None),
        (
            &[("content-type", "Application/JSON ; Charset=\"UTF-8\"")],
            None,
        ),
        (&[("content-type", "application/vnd.api+json")], None),
        (&[("content-encoding", "identity")], None),
        (&[("content-type", "multipart/form-data; boundary=x")], None),
        (
            &[("content-type", "multipart/form-data")],
            Some(BadBody::Boundary(BadBoundary::NotOne)),
        ),
        (
            &[("content-type", "application/json; charset=utf-16")],
            Some(BadBody::OtherType),
        ),
        (
            &[("content-type", "application/json; charset = utf-7")],
            Some(BadBody::OtherType),
        ),
        (
            &[("content-type", "application/json; charset\t=utf-7")],
            Some(BadBody::OtherType),
        ),
        (
            &[("content-type", "application/json; charset*=utf-8''utf-7")],
            Some(BadBody::OtherType),
        ),
        (
            &[("content-type", "application/x-www-form-urlencoded a/b+json")],
            Some(BadBody::OtherType),
        ),
        (
            &[("content-type", "application/x-www-form-urlencoded,a+json")],
            Some(BadBody::OtherType),
        ),
        (&[("content-type", "text/plain")], Some(BadBody::OtherType)),
        (&[("content-type", "")], Some(BadBody::OtherType)),
        (
            &[("content-type", "application/json,text/plain")],
            Some(BadBody::OtherType),
        ),
        (
            &[
                ("content-type", "application/json"),
                ("content-type", "application/json"),
            ],
            Some(BadBody::OtherType),
        ),
        (&[("content-encoding", "gzip")], Some(BadBody::Compressed)),
        (
            &[("content-encoding", "identity, br")],
            Some(BadBody::Compressed),
        ),
        (
            &[("content-encoding", "identity"), ("content-encoding", "br")],
            Some(BadBody::Compressed),
        ),
    ] {
        let headers = HeaderBlock::from_pairs(headers);
        let wanted = Wanting::default();
        let wanted = wanted.of(&route());
        assert_eq!(Kind::of(&wanted, &headers).err(), unread_as, "{headers:?}");
    }
}
