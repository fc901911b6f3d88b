use super::*;

#[tokio::test]
async fn names_of_the_hosts_file_need_no_name_server() {
    let found = hosts_alone().unwrap().lookup_ip("localhost").await.unwrap();
    assert!(found.iter().all(|address| address.is_loopback()) && found.iter().next().is_some());
    hosts_alone().unwrap().lookup_ip("nobody.example").await.unwrap_err();
}

#[tokio::test]
async fn addresses_are_taken_as_they_are() {
    assert_eq!(lookup("10.1.0.1", 80).await.unwrap(), ["10.1.0.1:80".parse().unwrap()]);
    assert_eq!(lookup("fd00::1", 80).await.unwrap(), ["[fd00::1]:80".parse().unwrap()]);
}
