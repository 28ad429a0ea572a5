//! A sample is a ledger like any other.

use ledger::LedgerReader;

#[tokio::test]
async fn nothing_is_wrong_with_a_sample() {
    let folder = tempfile::tempdir().unwrap();
    let path = sample_ledger::ledger_with(3_000, folder.path()).await.unwrap();
    let found = LedgerReader::open(&path).await.unwrap().verify().await.unwrap();
    assert_eq!(found.findings, []);
    assert_eq!(found.entries, 3_000);
}
