//! What the types promise by themselves.

use std::fmt::Debug;

use threaded::*;

fn is_plain_data<T: Send + Sync + Debug + Unpin + 'static>() {}
fn is_movable<T: Send + Debug + 'static>() {}
fn is_cloneable<T: Clone>() {}
fn is_error<T: std::error::Error + Send + Sync + 'static>() {}

#[test]
fn outcomes_and_specs_are_plain_data() {
    is_plain_data::<RequestSpec>();
    is_plain_data::<RequestBody>();
    is_plain_data::<Response>();
    is_plain_data::<ThreadResponse>();
    is_plain_data::<ThreadException>();
    is_plain_data::<RedirectHop>();
    is_plain_data::<Error>();
    is_plain_data::<ErrorKind>();
    is_plain_data::<PoolError>();
    is_plain_data::<SubmitError>();
    is_plain_data::<Stats>();
    is_plain_data::<Auth>();
    is_plain_data::<TransportOptions>();
    is_plain_data::<AddressFilter>();
    #[cfg(feature = "multipart")]
    is_plain_data::<multipart::Form>();
    is_cloneable::<RequestSpec>();
    is_cloneable::<ThreadResponse>();
    is_cloneable::<ThreadException>();
    is_cloneable::<Error>();
    is_cloneable::<PoolError>();
    is_cloneable::<SubmitError>();
    is_cloneable::<TransportOptions>();
}

#[test]
fn pools_and_their_iterators_can_be_shared_and_moved() {
    is_plain_data::<Pool>();
    is_plain_data::<Handle>();
    is_cloneable::<Handle>();
    is_movable::<Imap<std::vec::IntoIter<String>>>();
    is_movable::<ImapUnordered<std::vec::IntoIter<String>>>();
    is_plain_data::<Responses>();
    is_plain_data::<Exceptions>();
    is_movable::<Outcomes>();
    is_movable::<PoolBuilder>();
    is_movable::<Session>();
    is_movable::<ReqwestTransport>();
    is_movable::<ResponseBody>();
    is_movable::<Exchange<'static>>();
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
