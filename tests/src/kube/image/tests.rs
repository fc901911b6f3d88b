use super::*;

#[test]
fn images_of_an_existing_cluster_are_as_the_environment_says() {
    let images = Images::of(Some("registry.example:5000/weft:1"), Some("registry.example:5000/tests/")).unwrap();
    assert_eq!(images.weft, ("registry.example:5000/weft".to_owned(), "1".to_owned()));
    assert_eq!(images.application("echo"), "registry.example:5000/tests/echo:test");
    assert_eq!(Images::of(Some("weft.test/weft:test"), None).unwrap(), Images::of_built());
}

#[test]
fn an_image_without_a_tag_is_refused_and_so_is_none() {
    for wrong in ["weft", "registry.example:5000/weft", "weft:"] {
        assert!(Images::of(Some(wrong), None).unwrap_err().to_string().contains("REPOSITORY:TAG"), "{wrong}");
    }
    assert!(Images::of(None, None).unwrap_err().to_string().contains("unset KUBECONFIG"));
}

#[test]
fn manifests_name_images_as_the_cluster_has_them() {
    let images = Images::of(Some("r/weft:1"), Some("r/tests")).unwrap();
    let written = "{image: weft.test/echo:test, gate: weft.test/never, image: 'weft.test/standin:test'}";
    let named = "{image: r/tests/echo:test, gate: weft.test/never, image: 'r/tests/standin:test'}";
    assert_eq!(images.name_in(written), named);
    assert_eq!(Images::of_built().name_in(written), written);
}
