//! Where the body of the answer is to go, if not into memory.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::error::BoxError;
use crate::head::ResponseHead;
use crate::redact::Field;

#[derive(Clone)]
pub(crate) enum Sink {
    File(Arc<Path>),
    Handler(Handler),
}

pub(crate) type Handler =
    Arc<dyn Fn(&ResponseHead, &mut dyn Read) -> Result<(), BoxError> + Send + Sync>;

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {:?}", Field(path.display())),
            Self::Handler(_) => f.write_str("handler"),
        }
    }
}
