use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;

use super::FilesRegistry;
use crate::mesh::Manifests;
use crate::registry::Fault;
use crate::registry::testing::DEMO;

/// Far beyond what a change takes, so that a slow machine passes.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    dir: TempDir,
    registry: FilesRegistry,
    manifests: watch::Receiver<Arc<Manifests>>,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| replace(dir.path(), name, text));
        let (registry, manifests) = FilesRegistry::open(dir.path().to_owned()).unwrap();
        Self { dir, registry, manifests }
    }

    fn write(&self, name: &str, text: &str) {
        replace(self.dir.path(), name, text);
    }

    fn pods(&self) -> Vec<String> {
        names(&self.manifests.borrow())
    }

    async fn until_pods(&mut self, expected: &[&str]) {
        let seen = self.manifests.wait_for(|manifests| names(manifests) == expected);
        tokio::time::timeout(PATIENCE, seen).await.expect("the change is seen").unwrap();
    }

    async fn until_faults(&self, reached: impl Fn(&[Fault]) -> bool) -> Arc<Vec<Fault>> {
        let mut faults = self.registry.faults();
        let seen = faults.wait_for(|faults| reached(faults));
        tokio::time::timeout(PATIENCE, seen).await.expect("the fault is seen").unwrap().clone()
    }
}

/// As writers should: another file, put in the place of the old one.
fn replace(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

fn names(manifests: &Manifests) -> Vec<String> {
    manifests.pods.keys().map(|name| name.name.to_string()).collect()
}

fn pod(name: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n")
}

#[tokio::test]
async fn the_first_state_is_there_at_once() {
    let files = [
        ("mesh.yaml", DEMO),
        ("more/pod.yml", &pod("a")),
        ("x.json", r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}}"#),
    ];
    let world = World::new(
        &[&files[..], &[(".hidden.yaml", &pod("c")), ("notes.txt", "x"), (".git/d.yaml", &pod("d"))]].concat(),
    );
    assert_eq!(world.pods(), ["a", "b", "api-v1", "api-v2", "users", "web"]);
    assert_eq!(**world.registry.faults().borrow(), []);
}

#[tokio::test]
async fn files_that_come_change_and_go_are_seen() {
    let mut world = World::new(&[("a.yaml", &pod("a"))]);
    world.write("b.yaml", &pod("b"));
    world.until_pods(&["a", "b"]).await;
    world.write("a.yaml", &pod("c"));
    world.until_pods(&["b", "c"]).await;
    fs::write(world.dir.path().join("b.yaml"), pod("d")).unwrap();
    world.until_pods(&["c", "d"]).await;
    world.write("below/deeper/e.yaml", &pod("e"));
    world.until_pods(&["c", "d", "e"]).await;
    fs::remove_dir_all(world.dir.path().join("below")).unwrap();
    fs::remove_file(world.dir.path().join("a.yaml")).unwrap();
    world.until_pods(&["d"]).await;
}

#[tokio::test]
async fn a_bad_file_is_reported_and_its_last_good_state_stays() {
    let mut world = World::new(&[("a.yaml", &pod("a")), ("b.yaml", &pod("b"))]);
    world.write("a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus:\n  podIP: 10.0.0.300\n");
    let faults = world.until_faults(|faults| !faults.is_empty()).await;
    assert_eq!(
        faults[0].to_string(),
        "a.yaml:5: status.podIP: \"10.0.0.300\" is not an IP address; its last good state stays in force"
    );
    world.write("b.yaml", &pod("c"));
    world.until_pods(&["a", "c"]).await;
    world.write("a.yaml", &pod("a"));
    world.until_faults(<[Fault]>::is_empty).await;
}

#[tokio::test]
async fn a_burst_of_changes_is_one_state() {
    let mut world = World::new(&[]);
    let names: Vec<String> = (0..20).map(|number| format!("p{number:02}")).collect();
    names.iter().for_each(|name| world.write(&format!("{name}.yaml"), &pod(name)));
    world.until_pods(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    // Nothing more comes of it: the folder is quiet, and so is the registry.
    let (registry, mut manifests) = (&world.registry, world.manifests.clone());
    manifests.mark_unchanged();
    fs::read_dir(world.dir.path()).unwrap().for_each(|entry| drop(fs::read(entry.unwrap().path())));
    let more = tokio::time::timeout(Duration::from_millis(500), manifests.changed()).await;
    assert!(more.is_err(), "a state that differs in nothing was published");
    assert_eq!(**registry.faults().borrow(), []);
}

#[tokio::test]
async fn what_cannot_be_read_as_text_is_a_fault() {
    let world = World::new(&[("a.yaml", &pod("a"))]);
    fs::write(world.dir.path().join("b.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    std::os::unix::fs::symlink("nowhere", world.dir.path().join("c.yaml")).unwrap();
    let faults = world.until_faults(|faults| faults.len() == 2).await;
    assert!(faults.iter().all(|fault| fault.message.starts_with("the file cannot be read: ")), "{faults:?}");
    assert_eq!(world.pods(), ["a"]);
}

#[tokio::test]
async fn a_folder_of_links_as_kubernetes_mounts_it_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let link = |version: &str| {
        let new = dir.path().join("..data_new");
        std::os::unix::fs::symlink(version, &new).unwrap();
        fs::rename(new, dir.path().join("..data")).unwrap();
    };
    replace(dir.path(), "..1/a.yaml", &pod("a"));
    replace(dir.path(), "..2/a.yaml", &pod("b"));
    link("..1");
    std::os::unix::fs::symlink("..data/a.yaml", dir.path().join("a.yaml")).unwrap();
    let (registry, manifests) = FilesRegistry::open(dir.path().to_owned()).unwrap();
    assert_eq!(names(&manifests.borrow()), ["a"]);
    link("..2");
    World { dir, registry, manifests }.until_pods(&["b"]).await;
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let error = FilesRegistry::open("/nowhere/at/all".into()).unwrap_err().to_string();
    assert!(error.contains("/nowhere/at/all") && error.contains("WEFT_REGISTRY"), "{error}");
}

#[tokio::test]
async fn dropping_the_registry_ends_the_watch() {
    let World { dir: _dir, registry, mut manifests } = World::new(&[]);
    drop(registry);
    let ended = async { while manifests.changed().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the thread ends");
}
