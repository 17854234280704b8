//! `config.show`: Tells every setting and where it came from, keys as `…`.

use super::{Call, Caller, Fault, Front, wire};
use std::sync::Arc;

/// The method.
pub(crate) struct ConfigShow;

impl Call for ConfigShow {
    const NAME: &'static str = "config.show";
    const SUMMARY: &'static str = "Tells every setting and where it came from, keys as `…`.";
    const ANSWER: &'static str = "{entries: [{key, value, origin}], fingerprint}";
    type Params = wire::Nothing;
    type Answer = wire::Configuration;

    async fn call(
        front: Arc<Front>,
        _: Caller,
        _: wire::Nothing,
    ) -> Result<wire::Configuration, Fault> {
        Ok(wire::Configuration {
            entries: front.config.entries(),
            fingerprint: front.config.fingerprint(),
        })
    }
}
