//! Why a raw record is in quarantine: a fixed list, so that engineers can count, search and repair by it.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident, $code:literal, $chinese:literal, $mend:literal;)+) => {
        /// Why a raw record was not accepted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name,)+ }

        impl Reason {
            pub const ALL: &[Reason] = &[$(Reason::$name,)+];

            /// The stable code in headers, metrics and tables.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)+ }
            }

            pub fn chinese(self) -> &'static str {
                match self { $(Reason::$name => $chinese,)+ }
            }

            /// What an engineer does about it.
            pub fn mend(self) -> &'static str {
                match self { $(Reason::$name => $mend,)+ }
            }

            pub fn from_code(code: &str) -> Option<Reason> {
                Self::ALL.iter().copied().find(|reason| reason.code() == code)
            }
        }
    };
}

reasons! {
    /// The bytes are not text in the contract's encoding.
    Undecodable, "undecodable", "字符编码错误", "check the encoding in the contract against the file";
    /// Not a CSV record, JSON object, workbook row or message of the contract's form.
    Malformed, "malformed", "记录格式错误", "ask the department to send the record again";
    /// The protobuf message is of another schema.
    WrongSchema, "wrong_schema", "消息结构不符", "compare the producer's schema with the contract's";
    MissingColumn, "missing_column", "缺少字段", "add the column at the source, or a new version of the contract";
    UnknownColumn, "unknown_column", "出现未登记字段", "register the column in the contract, with its privacy, or have it removed";
    MissingKey, "missing_key", "主键为空", "the source must give every record its primary key";
    MissingValue, "missing_value", "必填项为空", "the source must fill the field, or the contract make it optional";
    BadNumber, "bad_number", "数值无法识别", "repair the value at the source";
    BadDate, "bad_date", "日期无法识别或不存在", "repair the value at the source, or add its format to the contract";
    BadValue, "bad_value", "取值不在值域内", "repair the value, or add it to the contract's value map";
    OutOfRange, "out_of_range", "数值超出范围", "check the meter or the contract's range";
    TooLarge, "too_large", "记录或字段过长", "raise the limit in the contract if the length is right";
    /// Its personal fields could not be dropped, because it could not be read.
    Withheld, "withheld", "无法解析且含个人信息，内容未留存", "ask the department to send the record again";
    EmptyAddress, "empty_address", "地址为空", "the source must give the address";
    AddressNotFound, "address_not_found", "标准地址库中未找到", "add the standard address or an alias, then replay the quarantine";
    AddressAmbiguous, "address_ambiguous", "地址对应多个地点", "ask for the missing level (district, building or unit), then replay";
    AddressTooCoarse, "address_too_coarse", "地址不够具体", "ask for building and room";
    OtherProvince, "other_province", "外省地址", "none: the place lies outside this installation's area";
    OutsideArea, "outside_area", "超出本数据源范围", "check the area in the contract";
    PlaceWithdrawn, "place_withdrawn", "地址已注销", "check the record's date against the place's life cycle";
    /// Not a record but the end of a full dump: what is missing in it was not withdrawn.
    DumpIncomplete, "dump_incomplete", "全量数据不完整，未注销缺失记录", "look at the file; where so many are really gone, raise gone_max_percent in the contract and let the dump be sent again";
    UnknownPlace, "unknown_place", "地址编码不存在", "send the standard address first, then replay";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lead_back_to_their_reason_and_are_distinct() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
            assert!(!reason.chinese().is_empty() && !reason.mend().is_empty());
        }
    }
}
