//! Results of groups, by their ids.

use super::*;

#[tokio::test]
async fn a_group_is_kept_found_and_dropped() {
    let site = site().await;
    let tuple = json!([["g", [["before", null], null]], [[["a", null], null], [["b", null], null]]]);
    assert_eq!(site.send("PUT", "/v1/groups/g", tuple.clone()).await, (204, Value::Null));
    assert_eq!(site.call("GET", "/v1/groups/g").await, (200, tuple));
    assert_eq!(site.call("DELETE", "/v1/groups/g").await.0, 204);
    assert_eq!(site.call("GET", "/v1/groups/g").await.1["code"], "unknown_group");
    assert_eq!(site.call("DELETE", "/v1/groups/g").await.1["code"], "unknown_group");
}

#[tokio::test]
async fn what_is_no_group_of_that_id_is_refused() {
    let site = site().await;
    for (body, says) in [
        (json!([["h", null], []]), "the path says g"),
        (json!([["g", null], null]), "has no members"),
        (json!({"id": "g"}), "result tuple"),
    ] {
        let (status, problem) = site.send("PUT", "/v1/groups/g", body).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(status == 422 && detail.contains(says), "{detail}");
    }
    assert_eq!(site.call("GET", "/v1/groups/g").await.0, 404);
}

#[tokio::test]
async fn a_group_for_which_there_is_no_room_is_refused() {
    let site = site().await;
    site.send("PUT", "/v1/tenants/default", json!({"key_value_bytes": 1})).await;
    let (status, refused) = site.send("PUT", "/v1/groups/g", json!([["g", null], []])).await;
    assert_eq!((status, &refused["code"]), (429, &json!("quota_exceeded")));
    assert!(
        refused["detail"].as_str().unwrap().contains("1 bytes together (its key_value_bytes, or limits.key"),
        "{refused}"
    );
}
