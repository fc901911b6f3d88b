use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_is_sound() {
    Args::command().debug_assert();
}

#[test]
fn a_backend_is_a_name_an_optional_port_and_a_weight() {
    let backend = |text: &str| text.parse::<BackendWeight>();
    assert_eq!(backend("v1=90"), Ok(BackendWeight { service: "v1".into(), port: 0, weight: 90 }));
    assert_eq!(backend("api-v2:8080=0"), Ok(BackendWeight { service: "api-v2".into(), port: 8080, weight: 0 }));
    for wrong in ["v1", "=5", "v1=", "v1=-1", "v1=1000001", "v1=1.5", "v1:0=1", "v1:x=1", "v1:70000=1", ":80=1"] {
        assert!(backend(wrong).is_err(), "{wrong} was accepted");
    }
}

#[test]
fn a_server_is_plain_http_without_a_path() {
    let server = |text: &str| text.parse::<Server>().map(|server| server.to_string());
    assert_eq!(server("http://10.0.0.1:15080"), Ok("http://10.0.0.1:15080".into()));
    assert_eq!(server("http://10.0.0.1:15080/"), Ok("http://10.0.0.1:15080".into()));
    assert_eq!(server("localhost:15080"), Ok("http://localhost:15080".into()));
    assert_eq!(server("[::1]:15080"), Ok("http://[::1]:15080".into()));
    for wrong in ["https://10.0.0.1:15080", "http://h/v1", "", "unix:///run/weft"] {
        assert!(server(wrong).is_err(), "{wrong} was accepted");
    }
}

#[test]
fn global_options_may_come_last() {
    let args =
        parse("weft traffic set api v1=90 v2=10 -n shop --expect-version 3 --take-over -o json --server h:1").unwrap();
    assert_eq!(args.global.output, Output::Json);
    assert_eq!(args.global.server.unwrap().to_string(), "http://h:1");
    let Command::Traffic(TrafficCommand::Set { service, backends, place, expect_version, take_over }) = args.command
    else {
        panic!("parsed as another command")
    };
    assert_eq!((service.as_str(), place.namespace.as_str()), ("api", "shop"));
    assert_eq!((expect_version, take_over), (Some(3), true));
    assert_eq!(backends.len(), 2);
}

#[test]
fn a_set_without_backends_is_a_usage_error() {
    let error = parse("weft traffic set api").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn a_shift_has_defaults_and_takes_commands() {
    let shift = |line: &str| match parse(line).map(|args| args.command) {
        Ok(Command::Traffic(TrafficCommand::Shift(shift))) => Ok(shift),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    let begun = shift("weft traffic shift api --to v2:8080 --steps 5,50 --interval 1s").unwrap();
    assert_eq!((begun.service.as_deref(), begun.steps.as_slice()), (Some("api"), &[5, 50][..]));
    let to = begun.to.unwrap();
    assert_eq!((to.service.as_str(), to.port, begun.abort_if.as_str()), ("v2", 8080, "error-rate>1%"));
    let paused = shift("weft traffic shift pause api -n shop").unwrap();
    assert!(
        matches!(paused.command, Some(ShiftCommand::Pause(of)) if of.service == "api" && of.place.namespace == "shop")
    );
    assert!(matches!(shift("weft traffic shift status").unwrap().command, Some(ShiftCommand::Status { .. })));
    for wrong in ["weft traffic shift api", "weft traffic shift --to v2", "weft traffic shift api --to v2 --steps 0"] {
        assert_eq!(shift(wrong).unwrap_err().exit_code(), 2, "{wrong}");
    }
}

#[test]
fn a_destination_is_a_service_or_an_address() {
    let destination = |text: &str| text.parse::<Destination>();
    let service = |name: &str, namespace: Option<&str>, port: &str| {
        Ok(Destination::Service { name: name.into(), namespace: namespace.map(Into::into), port: port.into() })
    };
    assert_eq!(destination("api:80"), service("api", None, "80"));
    assert_eq!(destination("api.shop"), service("api", Some("shop"), ""));
    assert_eq!(destination("api.shop.svc.cluster.local:http"), service("api", Some("shop"), "http"));
    assert_eq!(destination("10.96.0.10:80"), Ok(Destination::Address(([10, 96, 0, 10], 80).into())));
    for wrong in [":80", "", "www.example.com:80"] {
        assert!(destination(wrong).is_err(), "{wrong} was accepted");
    }
}

#[test]
fn why_takes_a_request() {
    let args = parse("weft why web api:80 --path /a?b=1 --method POST --header x-user:ann -n shop").unwrap();
    let Command::Why(why) = args.command else { panic!("parsed as another command") };
    assert_eq!((why.pod.as_str(), why.path.as_str(), why.method.as_str()), ("web", "/a?b=1", "POST"));
    assert_eq!(why.headers, [Header("x-user".into(), "ann".into())]);
    assert!(parse("weft why web api:80 --tls api.shop --path /a").is_err());
}
