//! The methods of A2A (Agent2Agent), by all of their names. Whatever it is called, a method is one.

/// `message/send` of 0.3.
pub const SEND: &str = "SendMessage";
/// `message/stream` of 0.3.
pub const STREAM: &str = "SendStreamingMessage";
/// `tasks/get` of 0.3.
pub const GET: &str = "GetTask";
/// `tasks/list` of 0.3.
pub const LIST: &str = "ListTasks";
/// `tasks/cancel` of 0.3.
pub const CANCEL: &str = "CancelTask";
/// `tasks/resubscribe` of 0.3.
pub const SUBSCRIBE: &str = "SubscribeToTask";
/// `tasks/pushNotificationConfig/set` of 0.3.
pub const CREATE_CONFIG: &str = "CreateTaskPushNotificationConfig";
/// `tasks/pushNotificationConfig/get` of 0.3.
pub const GET_CONFIG: &str = "GetTaskPushNotificationConfig";
/// `tasks/pushNotificationConfig/list` of 0.3.
pub const LIST_CONFIGS: &str = "ListTaskPushNotificationConfigs";
/// `tasks/pushNotificationConfig/delete` of 0.3.
pub const DELETE_CONFIG: &str = "DeleteTaskPushNotificationConfig";
/// `agent/getAuthenticatedExtendedCard` of 0.3.
pub const EXTENDED_CARD: &str = "GetExtendedAgentCard";

/// Each method by its name in 1.0, as 0.3 has it over JSON-RPC, and as 0.3 has it over gRPC where that is yet another.
const METHODS: [&[&str]; 11] = [
    &[SEND, "message/send"],
    &[STREAM, "message/stream"],
    &[GET, "tasks/get"],
    &[LIST, "tasks/list"],
    &[CANCEL, "tasks/cancel"],
    &[SUBSCRIBE, "tasks/resubscribe", "TaskSubscription"],
    &[
        CREATE_CONFIG,
        "tasks/pushNotificationConfig/set",
        "CreateTaskPushNotification",
    ],
    &[
        GET_CONFIG,
        "tasks/pushNotificationConfig/get",
        "GetTaskPushNotification",
    ],
    &[
        LIST_CONFIGS,
        "tasks/pushNotificationConfig/list",
        "ListTaskPushNotification",
        "ListTaskPushNotificationConfig",
    ],
    &[DELETE_CONFIG, "tasks/pushNotificationConfig/delete"],
    &[
        EXTENDED_CARD,
        "agent/getAuthenticatedExtendedCard",
        "GetAgentCard",
    ],
];

/// All names of a method, that of 1.0 first. `None`: the protocol does not have it.
#[must_use]
pub fn names_of(method: &str) -> Option<&'static [&'static str]> {
    METHODS.into_iter().find(|names| names.contains(&method))
}

/// Every name that the protocol has for a method.
pub fn all_names() -> impl Iterator<Item = &'static str> {
    METHODS.into_iter().flatten().copied()
}

/// The name of the protocol's that this is in other letters or between blanks, if it is one.
#[must_use]
pub fn respelt(method: &str) -> Option<&'static str> {
    let trimmed = method.trim();
    let name = all_names().find(|name| name.eq_ignore_ascii_case(trimmed));
    name.filter(|name| *name != method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_a_method_are_one_and_no_other_spelling_is() {
        assert_eq!(
            names_of("tasks/cancel"),
            Some(&[CANCEL, "tasks/cancel"][..])
        );
        for name in ["ListTaskPushNotification", LIST_CONFIGS] {
            assert_eq!(names_of(name).map(<[_]>::len), Some(4), "{name}");
        }
        assert_eq!(names_of("unheard/of"), None);
        for (method, name) in [
            ("Tasks/Cancel", Some("tasks/cancel")),
            ("cancelTask", Some(CANCEL)),
            (" CancelTask", Some(CANCEL)),
            ("message/send\n", Some("message/send")),
            ("tasks/cancel", None),
            (CANCEL, None),
            ("unheard/of", None),
            ("", None),
        ] {
            assert_eq!(respelt(method), name, "{method}");
        }
    }
}
