//! Doing what was planned.

use std::path::PathBuf;

use openrouter::{CreatedKey, KeyRecord};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::find::short;
use super::{DryRun, SecretArgs, Session, Step, pretty};
use crate::clients::Client;
use crate::making::make_key;
use crate::{OperatorError, private_file};

/// Where a new key's secret goes.
pub(super) enum Destination {
    /// Standard output: it is this command's data.
    Output,
    /// A new private file.
    File(PathBuf),
    /// The `.env` of a client, in the place of the old one.
    Client(Box<Client>),
}

/// What is told of a new key.
#[derive(Serialize)]
struct Made<'a> {
    /// The secret, unless it went into a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    record: &'a KeyRecord,
}

impl Destination {
    pub(super) fn of(secret: SecretArgs) -> Self {
        secret.output.map_or(Self::Output, Self::File)
    }
}

impl Session<'_> {
    /// Applies changes of keys that are there.
    pub(super) async fn apply_all(&mut self, plan: Vec<Step>) -> Result<(), OperatorError> {
        if self.dry_run {
            return self.print_plan(&plan);
        }
        if plan.is_empty() {
            self.console.note("nothing to do: it is so already");
        }
        for step in &plan {
            self.apply(step).await?;
        }
        if self.json { self.console.say(&pretty(&plan)) } else { Ok(()) }
    }

    /// Makes a key and hands it over.
    pub(super) async fn make(
        &mut self,
        plan: Vec<Step>,
        known: &[KeyRecord],
        destination: Destination,
    ) -> Result<(), OperatorError> {
        if self.dry_run {
            return self.print_plan(&plan);
        }
        for step in &plan {
            if let Step::Create { new, .. } = step {
                let made = make_key(&self.management, new, known).await?;
                self.hand_over(&made, &destination).await?;
            }
        }
        Ok(())
    }

    /// Makes a key, hands it over, and only then lets the old one go.
    pub(super) async fn rotate(
        &mut self,
        plan: Vec<Step>,
        known: &[KeyRecord],
        destination: Destination,
    ) -> Result<(), OperatorError> {
        if self.dry_run {
            return self.print_plan(&plan);
        }
        if !self.yes && !self.console.asker.can_ask() {
            return Err(OperatorError::Missing { what: "your agreement", flag: "--yes" });
        }
        let (made, rest): (Vec<Step>, Vec<Step>) =
            plan.into_iter().partition(|step| matches!(step, Step::Create { .. }));
        self.make(made, known, destination).await?;
        for step in &rest {
            let question = format!("The new key must be in use now. {}?", sentence(&step.to_string()));
            if self.console.agrees(&question, self.yes)? {
                self.apply(step).await?;
            } else {
                self.console.note("the old key still works; hint: mai-usage keys delete with its hash");
            }
        }
        Ok(())
    }

    fn print_plan(&mut self, plan: &[Step]) -> Result<(), OperatorError> {
        if self.json {
            return self.console.say(&pretty(&DryRun { dry_run: true, plan }));
        }
        if plan.is_empty() {
            return self.console.say("nothing to do: it is so already");
        }
        plan.iter().try_for_each(|step| self.console.say(&format!("would {step}")))
    }

    async fn apply(&mut self, step: &Step) -> Result<(), OperatorError> {
        if let Some((key, change)) = step.change() {
            self.management.update(&key.hash, &change).await?;
        } else if let Step::Delete { key } = step {
            self.management.delete(&key.hash).await?;
        }
        self.console.note(&format!("done: {step}"));
        Ok(())
    }

    /// The secret goes where it belongs. Where that fails nobody has seen it, and the key is deleted again.
    async fn hand_over(&mut self, made: &CreatedKey, destination: &Destination) -> Result<(), OperatorError> {
        let handed = match destination {
            Destination::Output => self.print_made(made, None),
            Destination::File(path) => {
                let secret = format!("{}\n", made.secret.expose_secret());
                let written = private_file::create(path, &secret).map_err(OperatorError::from);
                written.and_then(|()| self.print_made(made, Some(path.display().to_string())))
            }
            Destination::Client(client) => {
                let mut client = Client::clone(client);
                let written = client.set("OPENROUTER_API_KEY", made.secret.expose_secret());
                written.and_then(|()| self.print_made(made, Some(client.env_path().display().to_string())))
            }
        };
        if handed.is_err() {
            let deleted = self.management.delete(&made.record.hash).await.is_ok();
            let what = if deleted { "was deleted again" } else { "must be deleted by hand" };
            self.console.note(&format!("the new key {} {what}", short(&made.record.hash)));
        }
        handed
    }

    fn print_made(&mut self, made: &CreatedKey, file: Option<String>) -> Result<(), OperatorError> {
        let secret = made.secret.expose_secret();
        let (name, hash) = (&made.record.name, short(&made.record.hash));
        if self.json {
            let key = file.is_none().then_some(secret);
            return self.console.say(&pretty(&Made { key, file, record: &made.record }));
        }
        if let Some(file) = file {
            self.console.note(&format!("made the key {name:?} ({hash})"));
            return self.console.say(&format!("written to {file}"));
        }
        self.console.note(&format!("made the key {name:?} ({hash}); its secret is told this once:"));
        self.console.say(secret)
    }
}

/// The words with a capital at their beginning.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
