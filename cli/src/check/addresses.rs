//! Callers' addresses: where the filter reads them, and what Envoy writes there.

use std::io;

use waykeeper::config::Policy;
use waykeeper::config::policy::{AddressSource, Subject};

use super::{Line, Report};
use crate::find::Configuration;
use crate::managers::Manager;

impl Report<'_> {
    /// Compares where callers' addresses are read with where Envoy reads them, and with what Envoy writes there.
    pub(super) fn check_addresses(
        &mut self,
        policy: &Policy,
        managers: &[Manager],
        file: &str,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        let AddressSource::ForwardedFor { trusted_hops } = policy.address else {
            return self.check_belief(policy, managers, file, configuration);
        };
        for manager in managers {
            let other = |hops: &u64| usize::try_from(*hops) != Ok(trusted_hops);
            if let Some(hops) = manager.hops.filter(other) {
                self.warning(
                    configuration.line_of(&["address", "trusted_hops"]),
                    format_args!(
                        "address.trusted_hops: {trusted_hops} is not the xff_num_trusted_hops {hops} at {}: limits count by \
                         another entry of x-forwarded-for than Envoy takes for the caller",
                        Line(file, manager.line_of_hops),
                    ),
                )?;
            }
            if !manager.appends {
                self.warning(
                    configuration.line_of(&["address", "from"]),
                    format_args!(
                        "address.from: at {} Envoy appends nothing to x-forwarded-for (use_remote_address: true without \
                         skip_xff_append does): callers whose own entry is the last choose by what they are counted",
                        Line(file, manager.line_of_appends),
                    ),
                )?;
            }
        }
        Ok(())
    }

    /// Looks whether Envoy takes the address of a caller from the caller, where a limit counts by it.
    fn check_belief(
        &mut self,
        policy: &Policy,
        managers: &[Manager],
        file: &str,
        configuration: &Configuration<'_>,
    ) -> io::Result<()> {
        let limits = policy.limits.iter().map(|it| (&it.name, &it.each));
        let at_once = policy.in_flight.iter().map(|it| (&it.name, &it.each));
        let mut limits = limits.chain(at_once);
        let Some((name, _)) = limits.find(|(_, each)| each.has(&Subject::Address)) else {
            return Ok(());
        };
        for manager in managers.iter().filter(|manager| manager.believes) {
            self.warning(
                configuration.line_of(&["limits"]),
                format_args!(
                    "the limit {:?} counts by addresses, and without use_remote_address: true Envoy takes them from \
                     x-forwarded-for at {}: callers whose own entry is the last choose by what they are counted",
                    name,
                    Line(file, manager.line_of_remote),
                ),
            )?;
        }
        Ok(())
    }
}
