//! In which form a caller reads a refusal, by its request's `content-type`: what a reply says it is, and what it is, agree.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a caller speaks, as far as its refusals go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// HTTP: a problem in JSON.
    #[default]
    Problem,
    /// gRPC: a status, which Envoy makes of the reply.
    Grpc,
    /// gRPC-Web: a status at the end of a body of this content type.
    GrpcWeb(&'static str),
}

const GRPC: &[u8] = b"application/grpc";

/// The content types of gRPC-Web. Those of its text form have their bodies in base64.
const GRPC_WEB: [&str; 6] = [
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web+json",
    TEXT,
    "application/grpc-web-text+proto",
    "application/grpc-web-text+json",
];

const TEXT: &str = "application/grpc-web-text";

/// The flag of a frame that holds trailers.
const TRAILERS: u8 = 0x80;

impl Form {
    /// The form of a request with this content type. For gRPC this is Envoy's own rule, to the letter: to a reply that it
    /// takes for HTTP's, Envoy gives the body as it is.
    #[must_use]
    #[inline]
    pub fn of(content_type: &[u8]) -> Self {
        let Some((prefix, rest)) = content_type.split_at_checked(GRPC.len()) else {
            return Self::Problem;
        };
        if !prefix.eq_ignore_ascii_case(GRPC) {
            return Self::Problem;
        }
        if prefix == GRPC && matches!(rest, [] | [b'+', ..]) {
            return Self::Grpc;
        }
        let essence = content_type.split(|byte| *byte == b';').next();
        let essence = essence.unwrap_or_default().trim_ascii();
        let mut all = GRPC_WEB.into_iter();
        all.find(|known| essence.eq_ignore_ascii_case(known.as_bytes()))
            .map_or(Self::Problem, Self::GrpcWeb)
    }
}

/// The body that tells a caller of gRPC-Web its status: one frame of trailers. All clients read it there; in the headers,
/// where it may stand as well, only some do.
pub(super) fn grpc_web_body(content_type: &str, status: u8, message: &str) -> Vec<u8> {
    let mut trailers = format!("grpc-status:{status}\r\ngrpc-message:").into_bytes();
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => trailers.push(byte),
            _ => trailers.extend(format!("%{byte:02X}").bytes()),
        }
    }
    trailers.extend(b"\r\n");
    let length = u32::try_from(trailers.len()).unwrap_or_default();
    let frame = [&[TRAILERS], &length.to_be_bytes()[..], &trailers].concat();
    if content_type.starts_with(TEXT) {
        STANDARD.encode(frame).into_bytes()
    } else {
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_has_one_form() {
        for (content_type, form) in [
            ("application/grpc", Form::Grpc),
            ("application/grpc+proto", Form::Grpc),
            ("application/grpc+anything;x=1", Form::Grpc),
            (
                "application/grpc-web",
                Form::GrpcWeb("application/grpc-web"),
            ),
            (
                "Application/GRPC-Web+Proto; charset=utf-8",
                Form::GrpcWeb("application/grpc-web+proto"),
            ),
            (
                "application/grpc-web-text\t;x",
                Form::GrpcWeb("application/grpc-web-text"),
            ),
            // Envoy takes none of these for gRPC.
            ("application/grpcx", Form::Problem),
            ("application/grpc;charset=utf-8", Form::Problem),
            ("application/GRPC", Form::Problem),
            (" application/grpc", Form::Problem),
            ("application/grpc,application/json", Form::Problem),
            ("application/json,application/grpc", Form::Problem),
            ("application/grpc-web,application/grpc-web", Form::Problem),
            ("application/grpc-web+", Form::Problem),
            ("application/grpc-web-texts", Form::Problem),
            ("application/json", Form::Problem),
            ("", Form::Problem),
        ] {
            assert_eq!(Form::of(content_type.as_bytes()), form, "{content_type}");
        }
    }

    #[test]
    fn trailers_of_grpc_web_are_one_frame() {
        let frame = grpc_web_body("application/grpc-web+proto", 8, "100 % über");
        let trailers = b"grpc-status:8\r\ngrpc-message:100 %25 %C3%BCber\r\n";
        assert_eq!(frame[..5], [0x80, 0, 0, 0, 47]);
        assert_eq!(frame[5..], trailers[..]);
        let text = grpc_web_body("application/grpc-web-text", 16, "x");
        assert_eq!(
            text,
            b"gAAAACBncnBjLXN0YXR1czoxNg0KZ3JwYy1tZXNzYWdlOngNCg=="
        );
    }
}
