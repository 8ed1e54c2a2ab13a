//! Reading scalars and strings out of a body (`protocol-md-ca-el.md` §1.2, §1.3).

use super::{Channel, Doid, Zone};

/// A read went past the end of the body (§1.9, class "truncated").
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message ends early: {wanted} bytes wanted at offset {offset}, {left} left")]
pub struct Truncated {
    pub offset: usize,
    pub wanted: usize,
    pub left: usize,
}

/// A cursor over borrowed bytes; every read is checked.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Bytes read so far.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes not read yet.
    pub const fn left(&self) -> usize {
        self.bytes.len() - self.offset
    }

    pub const fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// What has not been read yet, without reading it.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.offset..]
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        match self.rest().get(..count) {
            Some(bytes) => {
                self.offset += count;
                Ok(bytes)
            }
            None => Err(Truncated { offset: self.offset, wanted: count, left: self.left() }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take returns as many bytes as it was asked for"))
    }

    pub fn u8(&mut self) -> Result<u8, Truncated> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub fn u16(&mut self) -> Result<u16, Truncated> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, Truncated> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Truncated> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Any non-zero byte is true.
    pub fn bool(&mut self) -> Result<bool, Truncated> {
        Ok(self.u8()? != 0)
    }

    pub fn channel(&mut self) -> Result<Channel, Truncated> {
        self.u64()
    }

    pub fn doid(&mut self) -> Result<Doid, Truncated> {
        self.u32()
    }

    pub fn zone(&mut self) -> Result<Zone, Truncated> {
        self.u32()
    }

    /// A `str` or `blob`: u16 byte length, then the bytes; not required to be UTF-8 at this layer.
    pub fn blob(&mut self) -> Result<&'a [u8], Truncated> {
        let mut ahead = *self;
        let length = ahead.u16()? as usize;
        let bytes = ahead.take(length)?;
        *self = ahead;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_little_endian_and_advance() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5, 6, 7, 2, 0, b'o', b'k', 9]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0302));
        assert_eq!(reader.u32(), Ok(0x0706_0504));
        assert_eq!(reader.blob(), Ok(&b"ok"[..]));
        assert_eq!(reader.rest(), &[9]);
    }

    #[test]
    fn a_short_read_changes_nothing_and_says_where() {
        let mut reader = Reader::new(&[0, 5, 0, 1]);
        reader.u8().unwrap();
        assert_eq!(reader.blob(), Err(Truncated { offset: 3, wanted: 5, left: 1 }));
        assert_eq!(reader.offset(), 1);
    }
}
