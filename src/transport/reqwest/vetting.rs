//! Looking up host names where not every address may be connected to.

use ::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use hyper_util::client::legacy::connect::dns::GaiResolver;
use tower_service::Service;

use crate::addresses::AddressFilter;

/// Hands out the vetted addresses alone, so that no other ones are connected to.
pub(super) struct VettingResolver {
    filter: AddressFilter,
}

impl VettingResolver {
    pub(super) fn new(filter: AddressFilter) -> Self {
        Self { filter }
    }
}

impl Resolve for VettingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let filter = self.filter.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found = GaiResolver::new().call(host.parse()?).await?;
            let vetted = filter.vetted(host, found)?;
            Ok(Box::new(vetted.into_iter()) as Addrs)
        })
    }
}
