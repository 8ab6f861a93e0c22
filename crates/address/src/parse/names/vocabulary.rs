//! Generic words of names. They are of the language, not of any place.

use crate::parse::words::Words;

/// What a name ends with, for certain: what follows begins another.
pub(super) static ENDS: Words = Words::new(
    "小区 花园 家园 新村 广场 大厦 公寓 市场 工业区 工业园区 工业园 产业园区 产业园 科技园区 科技园 \
     创业园 创意园 物流园 软件园 开发区 新区 功能区 住宅区 居民区 商务区 别墅区 校区 中心 示范区 \
     度假区 园区 花苑 雅苑 名苑 佳苑 景苑 嘉苑 新苑 华苑 嘉园 佳园 馨园 公馆 华府 华庭 豪庭 商贸城 \
     商城 建材城 家电城 汽配城 五金城 轻纺城 服装城 大楼 酒店 宾馆 小学 中学 幼儿园 医院 学校 \
     家属院 家属区 生活区 宿舍 山庄 别墅 车站 银行 政府 大院 派出所 卫生院 加油站 有限公司 街坊 \
     集团 苑",
);

/// What carries a name on behind its end: 云栖花园小区, 青禾厂宿舍.
pub(super) static FOLLOWERS: Words = Words::new(
    "小区 家属院 家属区 家属楼 家属 宿舍 社区 别墅 公寓 大厦 花园 新村 家园 广场 写字楼 住宅 校区 \
     小学 中学 学校 幼儿园 医院 卫生 服务 管委会 管理 大酒店 酒店 宾馆 超市 大楼 东校 西校 南校 \
     北校 分行 支行 营业 有限公司 分公司 新城 国际 会所 中心 购物 商业 水岸 首府",
);

/// A part of a compound: what a name does not go on with.
pub(super) static PARTS: Words = Words::new(
    "菜鸟驿站 快递 售楼处 售楼部 门卫 物业 丰巢 停车场 门面 商铺 底商 店面 院内 回迁 东门 西门 南门 \
     北门 正门 后门 东区 西区 南区 北区 中区 大门 东楼 西楼 南楼 北楼 主楼 裙楼 附楼",
);

/// What a division lends its name to: 望月县公安局.
pub(super) static OFFICES: Words = Words::new(
    "政府 人民政府 人民医院 医院 中医 中医院 妇幼 妇女 卫生 疾控 疾病 公安 公安局 派出所 法院 人民法院 检察院 \
     人民检察院 法庭 司法 交警 消防 看守所 中学 小学 高级 高中 初级 初中 实验 一中 二中 三中 四中 五中 六中 职业 \
     职教 技工 幼儿园 中心小学 中心幼儿园 中心卫生院 中心医院 中心学校 学校 进修 特殊教育 老年 第一人民 第二人民 \
     第三人民 第四人民 第五人民 第一中学 第二中学 第三中学 第四中学 第五中学 第六中学 第一小学 第二小学 第三小学 \
     第一幼儿园 第二幼儿园 党校 人大 政协 人武部 武装部 教育局 财政局 税务 国税 地税 水利 林业 农业 交通 民政 \
     国土 自然资源 建设局 住建 城管 环保 气象 审计 统计 统战 市场监督 市场监管 工商 质量 质监 粮食 烟草 供销 供电 \
     电力 电业 自来水 水务 邮政 邮局 电信 移动 联通 广电 电视台 火车站 汽车站 客运 车站 高铁站 机场 图书馆 文化馆 \
     博物馆 体育 敬老院 养老 福利 残联 工会 信用 农商 农村 行政 政务 便民 管委会 管理委员会 人才 农贸市场 集贸市场 \
     殡仪",
);

/// What names nothing, where a name would stand: the whole of it.
pub(super) static NOTHING: Words = Words::new(
    "中国 不详 未知 其他 其它 无 null 街上 镇上 村上 场上 街里 街面 县城 城里 之一 之二 之三\
     自提 自取 楼梯楼 楼梯房 电梯房 电梯",
);

/// What a sender asks of whoever delivers: words that such a request has.
pub(super) static REQUESTS: Words = Words::new(
    "谢谢 签收 联系 电话 自提 自取 派送 送货 收货 接收 请放 请打 放门口 务必 拒收 拒签 损坏 短信 配送",
);

/// Beside something, between something: what stands before it is near, not here.
pub(super) static NEARBY: Words = Words::new(
    "斜对面 正对面 对面 对过 对门 隔壁 附近 旁边 旁 门口 路口 入口 交叉路口 交叉口 交叉 交汇处 \
     交汇口 交汇 交界处 交界 交口 丁字路口 十字路口 红绿灯 东侧 西侧 南侧 北侧 东边 西边 南边 北边 \
     东面 西面 南面 北面 左侧 右侧 左边 右边 左面 右面 前面 后面 以东 以西 以南 以北 向东 向西 向南 \
     向北 往东 往西",
);
