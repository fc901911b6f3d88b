use super::*;

const LISTENING: &str =
    "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 21461 1 0 100 0 0 10 0";
const ESTABLISHED: &str = "   1: 0100007F:1F90 0100007F:D2A4 01 00000000:00000000 00:00000000 00000000  1000        0 21462 1 0 20 4 30 10 -1";

#[test]
fn listeners_of_others_count() {
    assert!(is_of_another(LISTENING, 1337));
    assert!(!is_of_another(LISTENING, 1000), "the proxy's own");
    assert!(!is_of_another(ESTABLISHED, 1337));
    assert!(!is_of_another("", 1337) && !is_of_another("sl local_address", 1337));
}

#[test]
fn it_reads_the_kernels_table() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(somebody_listens(Path::new(TABLES[0]), u32::MAX));
    drop(listener);
    assert!(!somebody_listens(Path::new("/nowhere"), 0));
}
