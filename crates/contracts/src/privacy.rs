//! Which names of fields look as if they were about a person.
//!
//! A list of words can only warn: it makes the one who writes a contract decide, and it lets the door empty
//! what arrives under such a name without being registered.

use crate::text::fold_name;

/// What a field's name suggests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// Needs a decision under `yibiao.privacy`.
    Personal(&'static str),
    /// May not arrive at all: ethnicity, religion, political affiliation, biometrics.
    Refused(&'static str),
}

/// Sensitive personal information that no purpose of this system needs (PIPL, art. 28).
const REFUSED: &[&str] = &[
    "民族",
    "宗教",
    "信仰",
    "党派",
    "政治面貌",
    "党员",
    "人脸",
    "指纹",
    "虹膜",
    "性取向",
    "ethnic",
    "religio",
    "faith",
    "political",
    "party_member",
    "fingerprint",
    "biometric",
];

const PERSONAL: &[&str] = &[
    "身份证",
    "证件号",
    "公民身份",
    "护照",
    "姓名",
    "手机",
    "电话",
    "联系方式",
    "联系人",
    "法定代表人",
    "法人代表",
    "负责人",
    "房东",
    "租客",
    "承租人",
    "出租人",
    "户主",
    "产权人",
    "居住人",
    "住户名",
    "当事人",
    "申请人",
    "被申请人",
    "原告",
    "被告",
    "出生",
    "生日",
    "年龄",
    "性别",
    "婚姻",
    "国籍",
    "学历",
    "职业",
    "银行卡",
    "银行账",
    "微信",
    "邮箱",
    "车牌",
    "病史",
    "诊断",
    "id_card",
    "idcard",
    "id_no",
    "identity",
    "passport",
    "phone",
    "mobile",
    "telephone",
    "contact",
    "landlord",
    "tenant",
    "lessee",
    "lessor",
    "legal_rep",
    "person",
    "people_name",
    "full_name",
    "first_name",
    "last_name",
    "surname",
    "owner",
    "holder_name",
    "customer_name",
    "user_name",
    "resident_name",
    "parties",
    "party_name",
    "plaintiff",
    "defendant",
    "applicant",
    "birth",
    "gender",
    "marital",
    "nationality",
    "email",
    "e-mail",
    "wechat",
    "bank_account",
    "bank_card",
    "licence_plate",
    "license_plate",
    "diagnosis",
    "collector",
];

/// None for a name that suggests nothing.
pub fn suspicion(name: &str) -> Option<Suspicion> {
    let name = fold_name(name);
    let name = name.replace([' ', '\u{3000}'], "");
    if let Some(word) = REFUSED.iter().find(|word| name.contains(*word)) {
        return Some(Suspicion::Refused(word));
    }
    // 采集人, 经办人, 抄表员, 居住者: whoever it is, it is somebody.
    if let Some(ending) = ["人", "员", "者"].into_iter().find(|ending| name.ends_with(ending)) {
        return Some(Suspicion::Personal(ending));
    }
    let joined = name.replace(['-', '_'], "");
    PERSONAL
        .iter()
        .find(|word| name.contains(*word) || joined.contains(&word.replace(['-', '_'], "")))
        .map(|word| Suspicion::Personal(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_persons_and_their_identifiers_are_suspected() {
        for name in [
            "身份证号",
            "法定代表人",
            "landlord_phone",
            "LandlordIdCard",
            "联系 电话",
            "parties",
            "ｐｈｏｎｅ",
            "采集人",
            "抄表员",
        ] {
            assert!(matches!(suspicion(name), Some(Suspicion::Personal(_))), "{name}");
        }
        for name in ["民族", "宗教信仰", "政治面貌", "Ethnicity", "religion"] {
            assert!(matches!(suspicion(name), Some(Suspicion::Refused(_))), "{name}");
        }
    }

    #[test]
    fn the_nine_feeds_ordinary_columns_are_not_suspected() {
        for name in [
            "地址编码",
            "标准地址",
            "户号",
            "户室",
            "用水地址",
            "registration_id",
            "registered_count",
            "rooms",
            "名称",
            "类型",
            "住所",
            "统一社会信用代码",
            "case_no",
            "outcome",
            "meter_no",
            "service_address",
            "note",
            "place_text",
            "社区",
            "小区名称",
            "表型",
        ] {
            assert_eq!(suspicion(name), None, "{name}");
        }
    }
}
