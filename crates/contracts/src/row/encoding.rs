//! Bytes to text in the contract's encoding. Nothing is ever replaced: bytes that are no text are refused.

use encoding_rs::{DecoderResult, GB18030, GBK};

use crate::contract::Encoding;

/// The text, in `buffer` unless the bytes are UTF-8 already; a byte order mark is left out. The error is the
/// position of the first byte that is no text.
pub(crate) fn decode<'a>(
    bytes: &'a [u8],
    encoding: Encoding,
    buffer: &'a mut String,
) -> Result<&'a str, usize> {
    if encoding == Encoding::Utf8 {
        let text = std::str::from_utf8(bytes).map_err(|error| error.valid_up_to())?;
        return Ok(text.strip_prefix('\u{feff}').unwrap_or(text));
    }
    let codec = if encoding == Encoding::Gbk { GBK } else { GB18030 };
    let mut decoder = codec.new_decoder_without_bom_handling();
    buffer.clear();
    // Every input byte becomes at most three of UTF-8, so that one call is enough.
    buffer.reserve(
        decoder.max_utf8_buffer_length_without_replacement(bytes.len()).unwrap_or(bytes.len() * 3 + 4),
    );
    match decoder.decode_to_string_without_replacement(bytes, buffer, true) {
        (DecoderResult::InputEmpty, _) => Ok(buffer),
        (_, read) => Err(read.saturating_sub(1)),
    }
}

/// Back to bytes, of text that [`decode`] gave. Whatever GBK lacks is written as GB18030 has it, which readers of
/// GBK that follow the Encoding Standard understand.
pub(crate) fn encode(text: &str, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Utf8 => text.as_bytes().to_vec(),
        Encoding::Gbk | Encoding::Gb18030 => GB18030.encode(text).0.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn chinese_in_gbk_and_rare_characters_in_gb18030_are_read() {
        let mut buffer = String::new();
        let bytes = encode("用水量（吨）", Encoding::Gbk);
        assert_eq!(decode(&bytes, Encoding::Gbk, &mut buffer).unwrap(), "用水量（吨）");
        let rare = encode("𠮷㐂家园", Encoding::Gb18030);
        assert_eq!(decode(&rare, Encoding::Gb18030, &mut buffer).unwrap(), "𠮷㐂家园");
        assert_eq!(decode("\u{feff}户号".as_bytes(), Encoding::Utf8, &mut buffer).unwrap(), "户号");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let mut buffer = String::new();
        assert!(decode(b"W1,\xff\xff,3", Encoding::Gbk, &mut buffer).is_err());
        assert!(decode(b"\xd3", Encoding::Gb18030, &mut buffer).is_err());
        assert_eq!(decode(b"ab\xd3\xc3", Encoding::Utf8, &mut buffer), Err(2));
    }
}
