//! What has come of a request's body, and how much of it may.

use crate::reply::Refusal;

/// A request's body as far as it has arrived.
#[derive(Debug, Default)]
pub(super) struct Body {
    arrived: u64,
    end: End,
    most: Option<u64>,
    /// By how many bytes it has become longer or shorter than its caller's.
    changed_by: i64,
    /// The host hands over all that has arrived each time, and not only what is new.
    collected: bool,
    /// The host has been told to collect, and has not called since: it believes that it still does.
    believed: bool,
}

/// How the request ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum End {
    /// It has not ended yet.
    #[default]
    Open,
    /// With its headers: there is no body.
    Headers,
    /// With the last byte of its body.
    Body,
    /// With trailers behind the body.
    Trailers,
}

impl Body {
    /// The request's headers were its end.
    #[inline]
    pub(super) fn ends_with_headers(&mut self) {
        self.end = End::Headers;
    }

    /// Which of the bytes are new that the host has at hand, where it has `size`. Asked before they arrive.
    #[inline]
    pub(super) fn new_of(&self, size: usize) -> std::ops::Range<usize> {
        let old = usize::try_from(self.arrived).unwrap_or(usize::MAX);
        let start = if self.collected { old.min(size) } else { 0 };
        start..size
    }

    /// A piece has arrived: `size` is what the host has at hand.
    ///
    /// # Errors
    /// When more has arrived than may.
    #[inline]
    pub(super) fn arrive(&mut self, size: usize, end: bool) -> Result<(), Refusal> {
        self.believed = false;
        let before = if self.collected { 0 } else { self.arrived };
        self.arrived = before.saturating_add(size as u64);
        if end {
            self.end = End::Body;
        }
        self.check()
    }

    /// Trailers have arrived.
    pub(super) fn ends_with_trailers(&mut self) {
        self.end = End::Trailers;
    }

    /// From now on the host hands over all that has arrived, or what is new only.
    pub(super) fn collect(&mut self, collected: bool) {
        (self.collected, self.believed) = (collected, collected);
    }

    /// True if the request may go on. While the host believes that it collects, it would put the next piece behind what it has
    /// collected, which is gone by then: so only from a callback of the body, or when all of it is there.
    pub(super) fn may_go_on(&self) -> bool {
        !self.believed || self.has_ended()
    }

    /// What the host has at hand of it was changed, to so many bytes more or less.
    pub(super) fn change(&mut self, by: i64) {
        self.arrived = self.arrived.saturating_add_signed(by);
        self.changed_by = self.changed_by.saturating_add(by);
    }

    /// The length that the request is to tell now, where it has told this one and it is no more so.
    #[inline]
    pub(super) fn changed_length(&self, told: u64) -> Option<u64> {
        (self.changed_by != 0).then(|| told.saturating_add_signed(self.changed_by))
    }

    /// Bounds the body; `length` is what the request says of it.
    ///
    /// # Errors
    /// When it is larger already, or says that it will be.
    #[inline]
    pub(super) fn bound(&mut self, most: Option<u64>, length: Option<u64>) -> Result<(), Refusal> {
        self.most = most;
        let length = length.filter(|_| self.end != End::Headers);
        match (most, length) {
            (Some(most), Some(length)) if length > most => Err(Refusal::BodyTooLarge(most)),
            _ => self.check(),
        }
    }

    /// All of the request has arrived.
    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        self.end != End::Open
    }

    /// How many bytes have arrived.
    #[inline]
    pub(super) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// The length, where the body is all that came behind the headers.
    #[inline]
    pub(super) fn length(&self) -> Option<u64> {
        (self.end == End::Body).then_some(self.arrived)
    }

    /// How many bytes have arrived from the caller, whatever was changed.
    #[inline]
    fn of_caller(&self) -> u64 {
        self.arrived
            .saturating_add_signed(self.changed_by.saturating_neg())
    }

    #[inline]
    fn check(&self) -> Result<(), Refusal> {
        match self.most {
            Some(most) if self.of_caller() > most => Err(Refusal::BodyTooLarge(most)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_add_up_unless_the_host_hands_over_all_that_it_has_collected() {
        let mut body = Body::default();
        body.arrive(3, false).unwrap();
        body.arrive(2, false).unwrap();
        assert_eq!(body.arrived(), 5);
        body.collect(true);
        body.arrive(9, false).unwrap();
        assert_eq!((body.arrived(), body.length()), (9, None));
        // The end may come with nothing new.
        body.arrive(9, true).unwrap();
        assert_eq!(body.length(), Some(9));
        assert!(body.has_ended());
    }

    #[test]
    fn a_body_is_bounded_by_what_it_says_and_by_what_came_before_the_bound() {
        let mut body = Body::default();
        body.bound(Some(5), Some(5)).unwrap();
        assert_eq!(body.bound(Some(5), Some(6)), Err(Refusal::BodyTooLarge(5)));
        body.arrive(5, false).unwrap();
        assert_eq!(body.arrive(1, false), Err(Refusal::BodyTooLarge(5)));

        let mut body = Body::default();
        body.arrive(6, false).unwrap();
        assert_eq!(body.bound(Some(5), None), Err(Refusal::BodyTooLarge(5)));
    }

    #[test]
    fn what_the_gateway_adds_to_a_body_counts_against_no_bound() {
        let mut body = Body::default();
        body.collect(true);
        body.arrive(4, false).unwrap();
        body.change(3);
        body.bound(Some(5), Some(5)).unwrap();
        assert_eq!(body.changed_length(5), Some(8));
        // All that was collected, as it is now, and the last of the caller's five.
        body.arrive(8, true).unwrap();
        assert_eq!(body.length(), Some(8));

        // Nor does what it takes away let a longer one pass.
        let mut body = Body::default();
        body.collect(true);
        body.arrive(4, false).unwrap();
        body.change(-3);
        body.bound(Some(5), None).unwrap();
        assert_eq!(body.arrive(3, false), Err(Refusal::BodyTooLarge(5)));
        assert_eq!(Body::default().changed_length(5), None);
    }

    #[test]
    fn a_length_is_known_only_of_a_body_that_ends_the_request() {
        let mut headers_only = Body::default();
        headers_only.ends_with_headers();
        assert!(headers_only.has_ended());
        // As of an answer to HEAD, it says nothing.
        headers_only.bound(Some(1), Some(2)).unwrap();
        assert_eq!(headers_only.length(), None);

        let mut with_trailers = Body::default();
        with_trailers.arrive(3, false).unwrap();
        with_trailers.ends_with_trailers();
        assert!(with_trailers.has_ended());
        assert_eq!(with_trailers.length(), None);
    }
}
