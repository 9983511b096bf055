//! What is looked for in bodies, put together for a route before any of its requests come.

use std::rc::Rc;

use crate::config::policy::Route;
use crate::text::json::{AnywhereId, MemberId, Search};
use crate::text::multipart::{FieldId, Fields};

/// What the rules of a route, and the models of its agents, look for in bodies.
#[derive(Debug)]
pub struct Wanted {
    pub(super) search: Rc<Search>,
    pub(super) fields: Rc<Fields>,
    /// Some member has a name that readers of forms would not agree on.
    pub(super) has_vague: bool,
    pub(super) most: u64,
}

/// The same while it is put together.
#[derive(Debug, Default)]
pub(in crate::routing) struct Wanting {
    search: Search,
    fields: Fields,
    has_vague: bool,
}

/// A member of an object, or a field of a form.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub(super) member: MemberId,
    /// `None`: no form has such a field.
    pub(super) field: Option<FieldId>,
}

impl Wanting {
    /// A member by its pointer. `None`: nothing can be looked for so.
    pub(in crate::routing) fn member(&mut self, pointer: &str) -> Option<Asked> {
        let member = self.search.member(pointer).ok()?;
        let name = pointer.strip_prefix('/').filter(|name| !name.contains('/'));
        let name = name.map(|name| name.replace("~1", "/").replace("~0", "~"));
        let field = name.map(|name| self.fields.field(&name));
        self.has_vague |= matches!(field, Some(Err(_)));
        let field = field.and_then(Result::ok);
        Some(Asked { member, field })
    }

    /// A member of this name anywhere, with one of these values.
    pub(in crate::routing) fn anywhere(&mut self, name: &str, values: &[&str]) -> AnywhereId {
        self.search.anywhere(name, values)
    }

    /// All that is looked for in bodies of this route.
    pub(in crate::routing) fn of(self, route: &Route) -> Wanted {
        Wanted {
            search: Rc::new(self.search),
            fields: Rc::new(self.fields),
            has_vague: self.has_vague,
            most: route.max_scan,
        }
    }
}
