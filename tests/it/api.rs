//! What the public types promise by themselves: `Send`, `Sync`, `Debug`, and `Clone` for data.

use std::fmt::Debug;
use std::path::Path;

#[cfg(feature = "multipart")]
use threaded::multipart::{Form, Part};
use threaded::*;

fn is_cloneable_data<T: Clone + Send + Sync + Debug + Unpin + 'static>() {}
fn is_plain_data<T: Send + Sync + Debug + Unpin + 'static>() {}
fn is_movable<T: Send + Debug + 'static>() {}
fn is_error<T: std::error::Error + Send + Sync + 'static>() {}

/// A test that checks each type with the function before it, which happens at compile time, and a list of these types.
macro_rules! test_types {
    ($test:ident, $list:ident: $($(#[$feature:meta])? $check:ident: $($name:ident $(<$parameter:tt>)?),+;)+) => {
        #[test]
        fn $test() {
            $($(#[$feature])? { $($check::<$name $(<$parameter>)?>();)+ })+
        }

        const $list: &[&str] = &[$($(stringify!($name)),+),+];
    };
}

test_types! {
    outcomes_and_specs_are_plain_data, DATA:
    is_cloneable_data: RequestSpec, RequestBody, Auth, AddressFilter, TransportOptions, Limits, OriginLimits, Retry;
    is_cloneable_data: ThreadResponse, ThreadException, Response, ResponseHead, RedirectHop;
    is_cloneable_data: Error, ErrorKind, PoolError, SubmitError, Stats;
    #[cfg(feature = "multipart")]
    is_cloneable_data: Form, Part;
    // They borrow from the job that they are about.
    is_plain_data: Attempt<'static>, Event<'static>, Tried<'static>;
    is_plain_data: BoxError;
}

type Urls = std::vec::IntoIter<String>;

test_types! {
    pools_and_their_iterators_can_be_shared_and_moved, POOLS:
    is_cloneable_data: Handle;
    is_plain_data: Pool, Responses, Exceptions;
    is_movable: PoolBuilder, Session, Imap<Urls>, ImapUnordered<Urls>, Outcomes;
    is_movable: ReqwestTransport, Exchange<'static>, ResponseBody;
    #[cfg(feature = "ureq")]
    is_movable: UreqTransport, PoolBuilder<UreqConfigBuilder>, Session<UreqConfigBuilder>;
}

/// Traits, and other names for types of other crates.
const NOT_TYPES: &[&str] = &[
    "Observer",
    "Transport",
    "TransportBuilder",
    "UreqConfigBuilder",
];

#[test]
fn every_public_type_is_in_these_lists() {
    let known = [DATA, POOLS, NOT_TYPES].concat();
    let mut missing = public_types();
    missing.retain(|name| !known.contains(&name.as_str()));
    assert!(missing.is_empty(), "add to a list above: {missing:?}");
}

/// The public types and traits at the crate's root and in its public modules, as its sources name them.
fn public_types() -> Vec<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let root = std::fs::read_to_string(sources.join("lib.rs")).unwrap();
    let mut names = defined_types(&root);
    for export in root.split("\npub use ").skip(1) {
        let (export, _) = export.split_once(';').unwrap();
        let (module, items) = export.rsplit_once("::").unwrap_or(("", export));
        for item in items.split([',', '{', '}']).map(str::trim) {
            if item.starts_with(char::is_uppercase) {
                names.push(item.to_owned());
            } else {
                // A function, a crate, or a public module with types of its own.
                let file = sources.join(module.replace("::", "/")).join(item);
                let module = std::fs::read_to_string(file.with_extension("rs"));
                names.extend(defined_types(&module.unwrap_or_default()));
            }
        }
    }
    assert!(names.len() >= 35, "are these all? {names:?}");
    names
}

fn defined_types(source: &str) -> Vec<String> {
    let keywords = ["struct", "enum", "union", "type", "trait"];
    let definitions = source.lines().filter_map(|line| {
        let (keyword, name) = line.strip_prefix("pub ")?.split_once(' ')?;
        keywords.contains(&keyword).then_some(name)
    });
    definitions
        .map(|name| {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
            name[..end.unwrap_or(name.len())].to_owned()
        })
        .collect()
}

#[test]
fn errors_are_errors() {
    is_error::<Error>();
    is_error::<PoolError>();
    is_error::<SubmitError>();
    is_error::<ThreadException>();
}

#[test]
fn the_channels_are_those_of_the_re_exported_crates() {
    let _: fn(&Pool) -> &crossbeam_channel::Receiver<ThreadResponse> = Pool::response_channel;
    let _: fn(&Response) -> http::StatusCode = Response::status;
    let _: fn(&Response) -> &url::Url = Response::url;
    let _: fn(&Response) -> &bytes::Bytes = Response::bytes;
}
