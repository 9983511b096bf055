//! Which patch is to blame for what Envoy refuses only when it is to be live. It cannot be asked about others then, as a file is
//! before: what is refused would be in force in part. So it goes by which patches are in that part, and which of them are new.

use waykeeper::config::Fault;

use super::apply::Refused;
use super::setting::Loaded;
use crate::check;
use crate::gateway::Patch;

/// A refusal with the place of the patch that it is about, if that is known, or of those of which one is.
pub(super) fn told(
    name: &str,
    before: Option<&Loaded>,
    new: &Loaded,
    refused: &Refused,
) -> Vec<String> {
    let Refused::ByEnvoy { part, said } = refused else {
        return Vec::new();
    };
    let of = |loaded: &Loaded| -> Vec<Patch> {
        let patches = loaded.as_first.0.gateway.patches.iter();
        patches.filter(|it| refused.is_about(it)).cloned().collect()
    };
    let former = before.map(of).unwrap_or_default();
    let mut suspects = of(new);
    only(&mut suspects, |it| {
        former.iter().all(|other| !other.says_the_same(it))
    });
    only(&mut suspects, |it| {
        it.name().is_some_and(|name| said.contains(name))
    });
    only(&mut suspects, |it| {
        check::names_field(&new.document, it.index, said)
    });
    let said = new.checked.environment.hidden(said);
    let fault = |patch: &Patch, message: String| -> String {
        let path = check::path_of_patch(&new.document, patch.index, &said);
        let positions = new.document.positions_at(&path);
        check::told(
            name,
            &new.document,
            &Fault {
                path,
                positions,
                message,
            },
        )
    };
    match suspects.as_slice() {
        [] => Vec::new(),
        [one] => vec![fault(one, format!("Envoy refuses {part}: {said}"))],
        several => {
            let each = several
                .iter()
                .map(|it| fault(it, "may be to blame".to_owned()));
            let first = format!("{name}: Envoy refuses {part}: {said}");
            [first].into_iter().chain(each).collect()
        }
    }
}

/// Those of which that is so, if it is of any.
fn only(patches: &mut Vec<Patch>, is_so: impl Fn(&Patch) -> bool) {
    if patches.iter().any(&is_so) {
        patches.retain(is_so);
    }
}
