//! Where the records lie: the two implementations share this trait.

use std::collections::BTreeMap;

use super::StoreError;

/// One write: `None` removes the key.
pub(super) type Write = (Vec<u8>, Option<Vec<u8>>);

/// A key with its value.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// Durable key-value storage, used by the store thread only.
///
/// Everything is loaded once at the start (the store is small by design, see
/// the limits in the module above) and answered from memory; the backend sees
/// writes only.
pub(super) trait Backend: Send {
    /// Every record there is.
    fn load(&mut self) -> Result<Vec<Record>, StoreError>;
    /// Applies the writes together; when this returns they are on the medium.
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError>;
    /// Makes the writes all there is. Whatever a commit that failed has left
    /// on the medium counts no more once this returns; when it fails too, what
    /// was there before is still there.
    fn replace(&mut self, writes: &[Write]) -> Result<(), StoreError>;
}

/// The in-memory twin: the same behaviour, gone with the process.
#[derive(Default)]
pub(super) struct Memory {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Backend for Memory {
    fn load(&mut self) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        Ok(self
            .records
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        for (key, value) in writes {
            match value {
                Some(value) => {
                    self.records.insert(key.clone(), value.clone());
                }
                None => {
                    self.records.remove(key);
                }
            }
        }
        Ok(())
    }

    fn replace(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.records.clear();
        self.commit(writes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_what_was_committed() {
        let mut memory = Memory::default();
        memory
            .commit(&[(b"a".to_vec(), Some(b"1".to_vec()))])
            .unwrap();
        memory
            .commit(&[(b"b".to_vec(), Some(b"2".to_vec())), (b"a".to_vec(), None)])
            .unwrap();
        assert_eq!(memory.load().unwrap(), [(b"b".to_vec(), b"2".to_vec())]);
    }
}
