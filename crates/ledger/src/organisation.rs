//! The organisation as recorded.

use metering::{BillingZone, Markup, OrgId};
use secrecy::SecretString;

/// The one organisation of the file.
#[derive(Debug, Clone)]
pub struct Organisation {
    /// Its id, the prefix of every external user.
    pub id: OrgId,
    /// Its name as typed.
    pub name: String,
    /// Its `OpenRouter` key, where known.
    pub api_key: Option<SecretString>,
    /// What it pays for each dollar of cost.
    pub markup: Markup,
    /// Its monthly limit in US dollars, decimal text; `None` without one.
    pub monthly_limit: Option<String>,
    /// Where its invoices go.
    pub billing_email: Option<String>,
    /// Its billing zone.
    pub zone: BillingZone,
}
