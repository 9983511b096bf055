//! Short texts, put together without an allocator.

/// At most 48 bytes; what is more is cut off.
#[derive(Clone, Copy)]
pub(crate) struct Text {
    bytes: [u8; 48],
    length: usize,
}

impl Text {
    pub(crate) const EMPTY: Self = Self {
        bytes: [0; 48],
        length: 0,
    };

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub(crate) fn and(mut self, more: &[u8]) -> Self {
        for (place, byte) in self.bytes.iter_mut().skip(self.length).zip(more) {
            *place = *byte;
        }
        self.length = (self.length + more.len()).min(self.bytes.len());
        self
    }

    pub(crate) fn number(self, mut number: u64) -> Self {
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return self.and(digits.get(start..).unwrap_or_default());
            }
        }
    }

    /// Nanoseconds as `40ms`, `6m0s` or `1h0m12s`, rounded up.
    pub(crate) fn duration(self, nanoseconds: u64) -> Self {
        let milliseconds = nanoseconds.div_ceil(1_000_000);
        if milliseconds < 1000 {
            return self.number(milliseconds).and(b"ms");
        }
        let seconds = nanoseconds.div_ceil(1_000_000_000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let mut text = self;
        if hours > 0 {
            text = text.number(hours).and(b"h");
        }
        if hours > 0 || minutes > 0 {
            text = text.number(minutes).and(b"m");
        }
        text.number(seconds).and(b"s")
    }
}
