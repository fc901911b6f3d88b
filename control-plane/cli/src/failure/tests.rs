use std::collections::HashMap;

use tonic_types::ErrorDetails;

use super::*;

const API: Target<'_> = Target { namespace: "shop", service: "api" };

fn server() -> Server {
    "http://127.0.0.1:15080".parse().unwrap()
}

#[test]
fn a_stale_version_says_how_to_see_the_current_one() {
    let status = Status::aborted("the split of shop/api has version 4, not 3");
    assert_eq!(
        Failure::from_status(&status, &server(), Some(API)).to_string(),
        "the split of shop/api has version 4, not 3\n\
         next: somebody wrote in between: run `weft traffic get api -n shop` to see what is in force, then repeat with \
         its version"
    );
}

#[test]
fn field_violations_follow_the_message() {
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation("backends[1].weight", "must be at most 1000000, is 2000000");
    let status = Status::with_error_details(Code::InvalidArgument, "the weights are not acceptable", details);
    assert_eq!(
        Failure::from_status(&status, &server(), Some(API)).to_string(),
        "the weights are not acceptable\n  backends[1].weight: must be at most 1000000, is 2000000"
    );
}

#[test]
fn known_names_follow_the_message() {
    let info = HashMap::from([("known".to_owned(), "api-v1, api-v2".to_owned())]);
    let details = ErrorDetails::with_error_info("UNKNOWN_BACKEND", "weft.dev", info);
    let status = Status::with_error_details(Code::NotFound, "shop has no Service api-v3", details);
    let shown = Failure::from_status(&status, &server(), Some(API)).to_string();
    assert!(shown.starts_with("shop has no Service api-v3\n  known: api-v1, api-v2\nnext: check the name"), "{shown}");
}

#[test]
fn the_versions_of_a_stale_write_are_not_repeated() {
    let versions = [("current_version", "4"), ("expected_version", "3")];
    let versions = versions.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let details = ErrorDetails::with_error_info("STALE_VERSION", "weft.dev", HashMap::from(versions));
    let status = Status::with_error_details(Code::Aborted, "the split has version 4, not 3", details);
    let shown = Failure::from_status(&status, &server(), Some(API)).to_string();
    assert!(shown.starts_with("the split has version 4, not 3\nnext: "), "{shown}");
}

#[test]
fn a_detail_that_the_message_already_has_is_not_repeated() {
    let details = ErrorDetails::with_bad_request_violation("service", "is empty");
    let status = Status::with_error_details(Code::InvalidArgument, "service: is empty", details);
    assert_eq!(Failure::from_status(&status, &server(), None).to_string(), "service: is empty");
}

#[test]
fn a_refused_credential_names_the_option() {
    let shown = Failure::from_status(&Status::unauthenticated("no token"), &server(), Some(API)).to_string();
    assert!(shown.contains("refused the call: no token") && shown.contains("--token-file"), "{shown}");
}
