-- rule: many_disputes
-- title: 同一地点多次纠纷
-- version: 1
-- shape: row
-- message: "{address}：近一年调解纠纷{disputes}起，建议走访"
-- evidence: dispute newest 3
-- param disputes_min: 2
SELECT place_id, 1 AS severity, disputes_365d AS disputes FROM places WHERE disputes_365d >= $disputes_min
