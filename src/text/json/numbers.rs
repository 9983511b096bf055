//! How a number is written (RFC 8259, section 6).

/// What stands last of a number so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    #[default]
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl Number {
    /// How a number begins.
    pub(super) fn begin(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            b'0' => Some(Self::Zero),
            b'1'..=b'9' => Some(Self::Whole),
            _ => None,
        }
    }

    /// How many of these bytes go on with the number, and what it is with them.
    #[inline]
    pub(super) fn read(self, bytes: &[u8]) -> (usize, Self) {
        let mut number = self;
        let mut rest = bytes;
        loop {
            if matches!(number, Self::Whole | Self::Fraction | Self::Power) {
                while let [b'0'..=b'9', behind @ ..] = rest {
                    rest = behind;
                }
            }
            let next = rest.split_first();
            let next = next.and_then(|(byte, behind)| Some((number.next(*byte)?, behind)));
            let Some((with, behind)) = next else {
                return (bytes.len() - rest.len(), number);
            };
            number = with;
            rest = behind;
        }
    }

    /// The number with one more byte. `None`: the byte is no part of it.
    #[inline]
    fn next(self, byte: u8) -> Option<Self> {
        match byte {
            b'0'..=b'9' => match self {
                Self::Whole => Some(Self::Whole),
                Self::Point | Self::Fraction => Some(Self::Fraction),
                Self::Exponent | Self::Sign | Self::Power => Some(Self::Power),
                Self::Minus => Self::begin(byte),
                Self::Zero => None,
            },
            b'.' if matches!(self, Self::Zero | Self::Whole) => Some(Self::Point),
            b'e' | b'E' if matches!(self, Self::Zero | Self::Whole | Self::Fraction) => {
                Some(Self::Exponent)
            }
            b'+' | b'-' if self == Self::Exponent => Some(Self::Sign),
            _ => None,
        }
    }

    /// Whether it may end here.
    pub(super) fn is_whole(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Whole | Self::Fraction | Self::Power
        )
    }
}
