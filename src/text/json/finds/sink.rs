//! What is found in what the reader comes upon.

use std::ops::Range;

use super::super::LONGEST_VALUE;
use super::super::broken::Stop;
use super::super::found::{Anywhere, Found, Member, Value, value};
use super::super::reader::{Kind, Scalar, Sink};
use super::super::strings::Kept;
use super::{Finds, Open, Places, before_nul, has_nul};
use crate::text::case;

impl Sink for Finds {
    #[inline]
    fn may_be_list(&self) -> bool {
        self.search.most_listed > 0
    }

    #[inline(always)]
    fn most_of_name(&self) -> usize {
        let step = self.crossing().map_or(0, |_| self.search.longest_step);
        if self.search.anywhere.is_empty() {
            return step;
        }
        step.max(self.search.longest_name)
    }

    #[inline(always)]
    fn name(&mut self, name: Kept<'_>) -> Result<(), Stop> {
        if matches!(name, Kept::Nothing) {
            return Ok(());
        }
        self.named(name)
    }

    #[inline(always)]
    fn item(&mut self) -> Result<(), Stop> {
        if self.way.len() != self.depth {
            return Ok(());
        }
        let Some(open) = self.way.last_mut() else {
            return self.next_object();
        };
        let index = Some(open.items);
        open.items += 1;
        let node = self.search.nodes.get(open.node);
        let step = node.and_then(|node| node.steps.iter().find(|step| step.index == index));
        self.comes(step.map(|step| step.node));
        Ok(())
    }

    #[inline(always)]
    fn most_of_value(&self) -> usize {
        let target = match self.target {
            Some(target) if self.is_wanted(target) => LONGEST_VALUE,
            _ => 0,
        };
        let named = (self.named.as_ref()).map_or(0, |_| self.search.longest_value);
        target.max(named)
    }

    #[inline(always)]
    fn scalar(&mut self, scalar: Scalar<'_>, range: Range<u64>) -> Result<(), Stop> {
        if self.named.is_none() && self.target.is_none() {
            return Ok(());
        }
        self.valued(scalar, range)
    }

    #[inline]
    fn open(&mut self, kind: Kind, start: u64) -> Result<(), Stop> {
        if kind == Kind::Array && self.depth == 0 {
            return self.open_list();
        }
        self.depth += 1;
        self.named = None;
        let Some(target) = self.target.take() else {
            return Ok(());
        };
        if kind == Kind::Array
            && let Some(node) = self.search.nodes.get(target)
            && node.steps.iter().any(|step| step.index.is_none())
        {
            return Err(Stop::NotAnObject(target));
        }
        self.way.push(Open {
            node: target,
            items: 0,
        });
        let found = Found {
            value: match kind {
                Kind::Array => Value::Array,
                Kind::Object => Value::Object,
            },
            start,
            end: None,
        };
        self.found(target, found);
        Ok(())
    }

    #[inline]
    fn close(&mut self, end: u64) {
        if self.depth == 0 {
            return;
        }
        if self.way.len() == self.depth
            && let Some(Open { node, .. }) = self.way.pop()
        {
            let place = self.places.0.get_mut(node);
            if let Some(Member::Found(found)) = place.map(|place| &mut place.member) {
                found.end = Some(end);
            }
            self.has_ended(node);
        }
        self.depth -= 1;
        if self.depth == 0 {
            if self.is_list {
                self.object_ended();
            }
            for known in &mut self.anywhere {
                if *known == Anywhere::Unknown {
                    *known = Anywhere::Absent;
                    self.unknown = self.unknown.saturating_sub(1);
                }
            }
        }
    }
}

impl Finds {
    /// A name came that was kept.
    fn named(&mut self, name: Kept<'_>) -> Result<(), Stop> {
        let step = self.step(name)?;
        self.comes(step);
        self.named = None;
        let name = match name {
            Kept::All(name) => name,
            Kept::TooLong(name) if has_nul(name) => name,
            _ => return Ok(()),
        };
        let taken_for = before_nul(name);
        let mut wanted = self.search.anywhere.iter();
        if wanted.any(|it| case::is_same(taken_for, &it.name, &it.folded)) {
            self.named = Some(name.into());
            self.seen(name, None)?;
        }
        Ok(())
    }

    /// A value came that may be wanted.
    fn valued(&mut self, scalar: Scalar<'_>, range: Range<u64>) -> Result<(), Stop> {
        if let Some(named) = self.named.take()
            && let Scalar::Text(text) = scalar
        {
            self.seen(&named, Some(text))?;
        }
        let Some(node) = self.target.take() else {
            return Ok(());
        };
        if self.depth == 0 {
            return Err(Stop::NotAnObject(node));
        }
        if self.is_wanted(node) {
            let found = Found {
                value: value(scalar)?,
                start: range.start,
                end: Some(range.end),
            };
            self.found(node, found);
        }
        self.has_ended(node);
        Ok(())
    }

    /// The text begins as a list, or one of its objects is one.
    #[cold]
    fn open_list(&mut self) -> Result<(), Stop> {
        if self.is_list {
            return Err(Stop::NotAnObject(0));
        }
        (self.is_list, self.target) = (true, None);
        Ok(())
    }

    /// One more object of the list comes next.
    #[cold]
    fn next_object(&mut self) -> Result<(), Stop> {
        if self.ended.len() == self.search.most_listed {
            return Err(Stop::TooMany);
        }
        self.target = Some(0);
        Ok(())
    }

    /// An object of the list has ended.
    #[cold]
    fn object_ended(&mut self) {
        let fresh = Places::none_of(&self.search);
        self.ended.push(std::mem::replace(&mut self.places, fresh));
    }
}
