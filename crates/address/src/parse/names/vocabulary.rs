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
     北门 正门 后门 东区 西区 南区 北区 中区 大门",
);

/// Beside something, between something: what stands before it is near, not here.
pub(super) static NEARBY: Words = Words::new(
    "斜对面 正对面 对面 对过 对门 隔壁 附近 旁边 旁 门口 路口 入口 交叉路口 交叉口 交叉 交汇处 \
     交汇口 交汇 交界处 交界 交口 丁字路口 十字路口 红绿灯 东侧 西侧 南侧 北侧 东边 西边 南边 北边 \
     东面 西面 南面 北面 左侧 右侧 左边 右边 左面 右面 前面 后面 以东 以西 以南 以北 向东 向西 向南 \
     向北 往东 往西",
);
