//! A daemon with two tenants.

use std::time::Duration;

use lovage_client::Client;
use lovage_tests::daemon::{Daemon, run};
use lovage_tests::guests;

use crate::neighbour::Neighbour;

/// Buckets are had by grant only.
const SETTINGS: &str = "[http]\ntokens = \"required\"\n[grants.\"attacker/reaching\"]\nkey_value = true\n";

pub(crate) struct Rig {
    pub(crate) neighbour: Neighbour,
    /// With all that a tenant may do.
    pub(crate) attacker: Client,
    pub(crate) daemon: Daemon,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let mut daemon = Daemon::configured(&[], SETTINGS);
        let line = daemon.process().wait_for("export LOVAGE_TOKEN=");
        let admin = line.split_once('=').expect("the token").1.to_owned();
        let tenant = |name: &str| {
            let with = |token: &str, args: &[&str]| {
                let mut command = daemon.command(args);
                command.env("LOVAGE_TOKEN", token);
                run(command).ok()
            };
            with(&admin, &["tenant", "add", name]);
            let token = with(&admin, &["token", "add", "--tenant", name, "--scope", "read,submit,deploy"]);
            for module in [guests::load(), guests::walls(), guests::reaching()] {
                let stem = module.file_stem().expect("a module has a name").to_string_lossy();
                with(&token, &["module", "push", &stem, &module.to_string_lossy()]);
            }
            daemon.client().with_token(token)
        };
        let (neighbour, attacker) = (Neighbour(tenant("neighbour")), tenant("attacker"));
        // What only the first tasks pay for is not measured.
        neighbour.capacity(Duration::from_millis(500)).await;
        Self { neighbour, attacker, daemon }
    }
}
