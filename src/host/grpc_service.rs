//! How Envoy is told which cluster a gRPC callout goes to: by a message of its API,
//! `envoy.config.core.v3.GrpcService`, in protobuf's encoding.
//!
//! The ABI asks for a cluster's name, but Envoy parses what it gets as that message first. Some plain names are one, of
//! a kind that Envoy ends its process over. So no name is ever handed over plain.

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, string};

/// `GrpcService.envoy_grpc`.
const ENVOY_GRPC: u32 = 1;
/// `GrpcService.EnvoyGrpc.cluster_name` and `authority`.
const CLUSTER_NAME: u32 = 1;
const AUTHORITY: u32 = 2;

/// `GrpcService {envoy_grpc {cluster_name, authority}}`. An empty authority is left out: Envoy then sends the cluster's name.
pub fn grpc_service(cluster: &str, authority: &str) -> Vec<u8> {
    let mut envoy_grpc = Vec::with_capacity(cluster.len() + authority.len() + 2 * 6);
    string::encode(CLUSTER_NAME, &cluster.to_owned(), &mut envoy_grpc);
    if !authority.is_empty() {
        string::encode(AUTHORITY, &authority.to_owned(), &mut envoy_grpc);
    }
    let length = envoy_grpc.len() as u64;
    let mut service = Vec::with_capacity(envoy_grpc.len() + 1 + encoded_len_varint(length));
    encode_key(ENVOY_GRPC, WireType::LengthDelimited, &mut service);
    encode_varint(length, &mut service);
    service.append(&mut envoy_grpc);
    service
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    /// What Envoy's API says that the message is.
    #[derive(PartialEq, Message)]
    struct GrpcService {
        #[prost(message, tag = "1")]
        envoy_grpc: Option<EnvoyGrpc>,
    }

    #[derive(PartialEq, Message)]
    struct EnvoyGrpc {
        #[prost(string, tag = "1")]
        cluster_name: String,
        #[prost(string, tag = "2")]
        authority: String,
    }

    #[test]
    fn a_short_name_is_framed_by_single_bytes() {
        assert_eq!(grpc_service("auth", ""), b"\x0a\x06\x0a\x04auth");
        assert_eq!(grpc_service("a", "b"), b"\x0a\x06\x0a\x01a\x12\x01b");
    }

    #[test]
    fn lengths_from_128_bytes_on_take_two() {
        for (name, head) in [
            (125, &b"\x0a\x7f\x0a\x7d"[..]),
            (126, b"\x0a\x80\x01\x0a\x7e"),
            (127, b"\x0a\x81\x01\x0a\x7f"),
            (128, b"\x0a\x83\x01\x0a\x80\x01"),
        ] {
            let name = "n".repeat(name);
            assert_eq!(grpc_service(&name, ""), [head, name.as_bytes()].concat());
        }
    }

    proptest! {
        #[test]
        fn whatever_the_names_are_envoy_reads_them_as_they_are(cluster: String, authority: String) {
            let read = GrpcService::decode(&*grpc_service(&cluster, &authority)).unwrap();
            let wanted = EnvoyGrpc { cluster_name: cluster, authority };
            prop_assert_eq!(read.envoy_grpc, Some(wanted));
        }
    }
}
