//! Doing one step.

use std::path::Path;

use ledger::OrganisationFacts;
use metering::{BillingZone, Clock, OrgId};
use openrouter::{
    Client, KeyAnswer, KeyChange, KeyRecord, LimitReset, Management, ManagementError, NewKey, hash_of_key,
};
use secrecy::ExposeSecret as _;

use super::journal::Intent;
use super::plan::{SetupError, Step, Value, Wanted};
use super::{Tokens, gather};
use crate::env_file::EnvFile;
use crate::making::make_key;
use crate::{OperatorError, private_file, recording};

/// What the steps work on.
pub(super) struct Work<'a> {
    pub(super) folder: &'a Path,
    pub(super) env: EnvFile,
    /// The account's keys before the first step.
    pub(super) keys: Vec<KeyRecord>,
    pub(super) wanted: &'a Wanted,
    pub(super) management: Management,
    pub(super) client: Client,
    pub(super) clock: &'a Clock,
    pub(super) token: Tokens,
}

impl Work<'_> {
    pub(super) async fn apply(&mut self, step: &Step) -> Result<(), OperatorError> {
        match step {
            Step::WriteEnv { values, .. } => self.write_env(values),
            Step::DeleteKey { key } => Ok(self.management.delete(&key.hash).await?),
            Step::NoteIntent { key_name } => {
                Intent { key_name: key_name.clone(), at: self.clock.now() }.write(self.folder)
            }
            Step::CreateKey { new, .. } => self.create_key(new).await,
            Step::ForgetIntent => Intent::forget(self.folder),
            Step::SetLimit { key, wanted, .. } => {
                let limit = wanted.amount();
                let limit_reset = Some(limit.map(|_| LimitReset::Monthly));
                let change = KeyChange { limit: Some(limit), limit_reset, ..KeyChange::default() };
                self.management.update(&key.hash, &change).await?;
                Ok(())
            }
            Step::TestKey => self.test_key().await,
            Step::RecordOrganisation { id, name, database } => {
                self.record(OrgId::new(id.clone()), name, database).await
            }
        }
    }

    fn write_env(&mut self, values: &[(&'static str, Value)]) -> Result<(), OperatorError> {
        for (name, value) in values {
            match value {
                Value::Known(value) => self.set(name, value)?,
                Value::FreshToken => self.set(name, (self.token)().expose_secret())?,
            }
        }
        self.save()
    }

    /// Makes the key and puts its secret on the disk at once. Where that fails the key is deleted: nobody has seen the secret.
    async fn create_key(&mut self, new: &NewKey) -> Result<(), OperatorError> {
        let made = make_key(&self.management, new, &self.keys).await?;
        let saved = self.set("OPENROUTER_API_KEY", made.secret.expose_secret()).and_then(|()| self.save());
        if saved.is_err() {
            // If this fails too, the intent lets the next run do it.
            let _ = self.management.delete(&made.record.hash).await;
        }
        saved
    }

    /// A question that costs nothing.
    async fn test_key(&self) -> Result<(), OperatorError> {
        let key = self.env.get("OPENROUTER_API_KEY").unwrap_or_default();
        let answer = self.client.key(&key.into()).await.map_err(ManagementError::from)?;
        match answer {
            KeyAnswer::Accepted(_) => Ok(()),
            KeyAnswer::Management => Err(SetupError::ManagementKeyInEnv.into()),
            KeyAnswer::Rejected => Err(SetupError::KeyNotConfirmed("HTTP status 401".to_owned()).into()),
            KeyAnswer::Refused(why) => Err(SetupError::KeyNotConfirmed(why).into()),
        }
    }

    /// Creates the database where there is none, and records what is not recorded yet.
    async fn record(&self, id: OrgId, name: &str, database: &Path) -> Result<(), OperatorError> {
        recording::record(database, self.organisation(id, name)?).await?;
        Ok(())
    }

    fn organisation(&self, id: OrgId, name: &str) -> Result<OrganisationFacts, OperatorError> {
        let key = self.env.get("OPENROUTER_API_KEY");
        let zone = BillingZone::named(&self.wanted.zone)
            .map_err(|_| OperatorError::Value { flag: "--time-zone", rule: "must be an IANA time zone" })?;
        Ok(OrganisationFacts {
            id: Some(id),
            name: Some(name.to_owned()),
            api_key: key.map(Into::into),
            api_key_hash: key.map(hash_of_key),
            monthly_limit: Some(recording::monthly_limit(&self.wanted.limit.0)),
            billing_email: self.wanted.billing_email.clone(),
            zone: Some(zone),
            now: self.clock.now(),
        })
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), OperatorError> {
        let path = gather::env_path(self.folder);
        self.env.set(name, value).map_err(|problem| OperatorError::EnvFile { path, problem })
    }

    fn save(&self) -> Result<(), OperatorError> {
        Ok(private_file::replace(&gather::env_path(self.folder), &self.env.to_string())?)
    }
}
