//! The store as a whole: restarts, kill -9, torn and bit-flipped files.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::clock::unix_now;

/// Tells the child of the kill test where to write.
const CHILD_DIR: &str = "PEERLOOM_STORE_TEST_DIR";
/// Damaged copies tried per kind of damage.
const DAMAGES: u64 = 80;

fn seed(byte: u8) -> impl FnOnce() -> Seed + Send + 'static {
    move || Seed::new([byte; 32])
}

fn peer(number: u8) -> RememberedPeer {
    RememberedPeer {
        mesh: "m".to_owned(),
        peer: [number; 32],
        addresses: vec!["/ip4/127.0.0.1/udp/1/quic-v1".to_owned()],
        last_good: u64::from(number),
    }
}

fn identity(name: &str, key: u8) -> KnownIdentity {
    KnownIdentity {
        name: name.to_owned(),
        peer: [key; 32],
        first_seen: 1,
        last_seen: 1,
    }
}

async fn open(dir: &Path) -> Opened {
    Store::open(Data::Dir(dir.to_owned()), seed(9))
        .await
        .unwrap()
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(Data::Dir(dir.path().to_owned()), seed(1))
        .await
        .unwrap();
    assert_eq!(first.notices, [Notice::KeyCreated]);
    first.store.remember(peer(1)).await.unwrap();
    assert_eq!(
        first.store.check(identity("a@m", 1), false).await.unwrap(),
        Verdict::First
    );
    first.store.close().await.unwrap();

    let second = open(dir.path()).await;
    assert_eq!(*second.seed, [1; 32]);
    assert!(second.notices.is_empty() && second.boot > first.boot);
    assert_eq!(second.store.peers("m").await.unwrap(), [peer(1)]);
    let verdict = second.store.check(identity("a@m", 2), false).await.unwrap();
    assert!(matches!(
        verdict,
        Verdict::Changed {
            accepted: false,
            ..
        }
    ));
    assert_eq!(
        second.store.identities().await.unwrap(),
        [identity("a@m", 1)]
    );
    assert!(second.store.forget("a@m").await.unwrap());
}

#[tokio::test]
async fn a_database_lost_at_run_time_is_rebuilt_and_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path()).await;
    opened.store.remember(peer(1)).await.unwrap();
    for round in 2..5 {
        opened.store.lose_database().await.unwrap();
        opened.store.remember(peer(round)).await.unwrap();
        let told = opened.later.recv().await.unwrap();
        assert!(
            matches!(&told, Notice::Rebuilt { moved_to, .. } if moved_to.exists()),
            "{told:?}"
        );
    }
    opened.store.close().await.unwrap();
    let again = open(dir.path()).await;
    assert_eq!(again.notices, []);
    let peers = again.store.peers("m").await.unwrap();
    assert_eq!(peers, [peer(4), peer(3), peer(2), peer(1)]);
}

#[tokio::test]
async fn what_a_full_disk_refused_is_not_acknowledged_until_it_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    let store = &opened.store;
    store.check(identity("old@m", 3), false).await.unwrap();
    store.refuse_commits(3).await.unwrap();
    store.remember(peer(1)).await.unwrap_err();
    store.check(identity("a@m", 1), false).await.unwrap_err();
    // In memory already, so that nothing new would have to be written.
    store.check(identity("a@m", 1), false).await.unwrap_err();
    assert_eq!(
        store.check(identity("a@m", 1), false).await.unwrap(),
        Verdict::Same
    );
    store.refuse_commits(1).await.unwrap();
    store.forget("old@m").await.unwrap_err();
    assert!(!store.forget("old@m").await.unwrap());
    store.close().await.unwrap();

    let again = open(dir.path()).await;
    assert_eq!(again.notices, []);
    assert_eq!(again.store.peers("m").await.unwrap(), [peer(1)]);
    assert_eq!(
        again.store.identities().await.unwrap(),
        [identity("a@m", 1)]
    );
}

#[tokio::test]
async fn memory_behaves_alike_and_forgets() {
    let mut opened = Store::open(Data::Memory, seed(1)).await.unwrap();
    opened.store.remember(peer(1)).await.unwrap();
    assert_eq!(opened.store.peers("m").await.unwrap(), [peer(1)]);
    assert!(opened.later.try_recv().is_err());
    opened.store.close().await.unwrap();
    assert!(matches!(
        opened.store.peers("m").await,
        Err(StoreError::Closed)
    ));
}

#[tokio::test]
async fn a_second_opener_gets_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path()).await;
    let error = Store::open(Data::Dir(dir.path().to_owned()), seed(1))
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
}

/// Not a test of its own: the child that the next test kills. It prints each
/// number once its record was acknowledged.
#[tokio::test]
#[ignore = "the writing child of `acknowledged_records_survive_kill_nine`"]
async fn child_writes_until_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let opened = open(Path::new(&dir)).await;
    for number in 0u32.. {
        let name = format!("{number}");
        opened.store.check(identity(&name, 7), false).await.unwrap();
        opened
            .store
            .remember(peer((number % 8) as u8))
            .await
            .unwrap();
        println!("ack {number}");
    }
}

#[tokio::test]
async fn acknowledged_records_survive_kill_nine() {
    let dir = tempfile::tempdir().unwrap();
    let (mut key, mut acknowledged) = (None, 0);
    for round in 0..3 {
        let seen = write_and_kill(dir.path(), 20 + 15 * round);
        acknowledged = acknowledged.max(seen);
        let opened = open(dir.path()).await;
        assert!(opened.notices.is_empty(), "{:?}", opened.notices);
        assert_eq!(*key.get_or_insert(*opened.seed), *opened.seed);
        let names: Vec<_> = opened
            .store
            .identities()
            .await
            .unwrap()
            .into_iter()
            .map(|known| known.name)
            .collect();
        for number in 0..=acknowledged {
            assert!(
                names.contains(&number.to_string()),
                "{number} was acknowledged and is lost"
            );
        }
        let mut peers = opened.store.peers("m").await.unwrap();
        peers.sort_by_key(|known| known.peer);
        // More than eight were acknowledged: the child goes round in them.
        assert_eq!(peers, (0..8).map(peer).collect::<Vec<_>>());
        opened.store.close().await.unwrap();
    }
}

/// Runs the writing child until it acknowledged `count` records, kills it with
/// SIGKILL and returns the last acknowledged number.
fn write_and_kill(dir: &Path, count: u32) -> u32 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::tests::child_writes_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let last = lines
        .filter_map(|line| line.unwrap().rsplit_once("ack ")?.1.parse::<u32>().ok())
        .find(|number| *number >= count)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    last
}

/// A directory with a key and a database that holds a good deal.
async fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    for number in 0..32 {
        opened.store.remember(peer(number)).await.unwrap();
        opened
            .store
            .check(identity(&format!("n{number}@m"), number), false)
            .await
            .unwrap();
    }
    opened.store.close().await.unwrap();
    dir
}

fn flip_bits(bytes: &mut [u8], rng: &mut StdRng) {
    for _ in 0..rng.random_range(1..=16) {
        let at = rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << rng.random_range(0..8);
    }
}

fn tear(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    bytes.truncate(rng.random_range(0..bytes.len()));
}

fn scribble(bytes: &mut [u8], rng: &mut StdRng) {
    let from = rng.random_range(0..bytes.len());
    let to = (from + rng.random_range(1..4096)).min(bytes.len());
    rng.fill(&mut bytes[from..to]);
}

#[tokio::test]
async fn flipped_bits_cost_neither_the_key_nor_the_start() {
    damage_and_reopen(0..DAMAGES, |bytes, rng| flip_bits(bytes, rng)).await;
}

#[tokio::test]
async fn torn_files_cost_neither_the_key_nor_the_start() {
    damage_and_reopen(0..DAMAGES, tear).await;
}

#[tokio::test]
async fn garbage_written_over_the_database_costs_neither_the_key_nor_the_start() {
    damage_and_reopen(0..DAMAGES, |bytes, rng| scribble(bytes, rng)).await;
}

#[tokio::test]
#[ignore = "takes minutes; run after changes to the store"]
async fn damage_of_many_seeds() {
    let seeds = DAMAGES..DAMAGES + 2000;
    damage_and_reopen(seeds.clone(), |bytes, rng| flip_bits(bytes, rng)).await;
    damage_and_reopen(seeds.clone(), tear).await;
    damage_and_reopen(seeds, |bytes, rng| scribble(bytes, rng)).await;
}

/// Damages one database file per seed; the store must open with the same key,
/// hold nothing it was never given, and lose nothing that it acknowledges then.
async fn damage_and_reopen(seeds: Range<u64>, damage: impl Fn(&mut Vec<u8>, &mut StdRng)) {
    let pristine = filled().await;
    let mut rebuilt = 0;
    for number in seeds {
        let mut rng = StdRng::seed_from_u64(number);
        let copy = tempfile::tempdir().unwrap();
        copy_tree(pristine.path(), copy.path());
        let mut files = files_of(&copy.path().join("db-1"));
        files.push(copy.path().join("db.mark"));
        let file = &files[rng.random_range(0..files.len())];
        let mut bytes = fs::read(file).unwrap();
        damage(&mut bytes, &mut rng);
        fs::write(file, &bytes).unwrap();
        rebuilt += usize::from(reopen_damaged(copy.path(), number).await);
    }
    assert!(rebuilt > 0, "no damage was noticed");
}

async fn reopen_damaged(dir: &Path, number: u64) -> bool {
    let before = unix_now();
    let opened = open(dir).await;
    assert_eq!(*opened.seed, [9; 32], "seed {number}");
    assert!(opened.boot >= before);
    for known in opened.store.identities().await.unwrap() {
        assert_eq!(known, identity(&known.name, known.peer[0]), "seed {number}");
    }
    if opened.notices.is_empty() {
        assert_eq!(
            opened.store.identities().await.unwrap().len(),
            32,
            "seed {number}: lost in silence"
        );
    }
    opened.store.remember(peer(200)).await.unwrap();
    opened.store.close().await.unwrap();
    let again = open(dir).await;
    assert_eq!(*again.seed, [9; 32], "seed {number}");
    // What was acknowledged after the damage lies on new ground.
    assert_eq!(again.notices, [], "seed {number}");
    let first = again.store.peers("m").await.unwrap().into_iter().next();
    assert_eq!(first, Some(peer(200)), "seed {number}");
    again.store.close().await.unwrap();
    rebuilt(&opened.notices)
}

fn rebuilt(notices: &[Notice]) -> bool {
    notices
        .iter()
        .any(|notice| matches!(notice, Notice::Rebuilt { .. }))
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Non-empty files below `dir`, in a stable order.
fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_of(&entry.path()));
        } else if entry.metadata().unwrap().len() > 0 {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}
