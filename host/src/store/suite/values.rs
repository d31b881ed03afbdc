//! Values by key: kept, found, counted, listed, and no more of them than a tenant may have.

use bytes::Bytes;

use super::*;
use crate::store::{Place, Unkept, VALUE_OVERHEAD_BYTES};

for_each_backend!(
    a_value_is_found_where_it_was_kept_and_nowhere_else,
    keys_come_in_order_page_by_page,
    keys_that_go_meanwhile_hide_no_others,
    numbers_add_up_and_others_do_not,
    a_tenant_keeps_as_much_as_it_may,
    all_values_of_a_tenant_are_dropped_together
);

fn place(bucket: &str, key: &str) -> Place {
    Place { tenant: tenant(), bucket: bucket.to_owned(), key: key.to_owned() }
}

async fn keep(bench: &Bench, place: &Place, value: &[u8], most_bytes: u64) -> Result<(), Unkept> {
    bench.store.keep_value(place.clone(), Bytes::copy_from_slice(value), most_bytes).await.unwrap()
}

async fn found(bench: &Bench, place: &Place) -> Option<Vec<u8>> {
    bench.store.value(place.clone()).await.unwrap().map(|value| value.to_vec())
}

async fn a_value_is_found_where_it_was_kept_and_nowhere_else(mut bench: Bench) {
    let odd = place("b\0:", "ключ \0\u{1f600}'");
    assert_eq!(found(&bench, &odd).await, None);
    for value in [&b"\0\xff\xfe"[..], b"", b"second"] {
        keep(&bench, &odd, value, u64::MAX).await.unwrap();
        assert_eq!(found(&bench, &odd).await.as_deref(), Some(value));
    }
    bench.restart().await;
    assert_eq!(found(&bench, &odd).await.as_deref(), Some(&b"second"[..]));
    let other = TenantId::new("other").unwrap();
    for elsewhere in [place("b", &odd.key), place(&odd.bucket, ""), Place { tenant: other, ..odd.clone() }] {
        assert_eq!(found(&bench, &elsewhere).await, None);
        assert!(!bench.store.drop_value(elsewhere).await.unwrap());
    }
    assert!(bench.store.drop_value(odd.clone()).await.unwrap());
    assert!(!bench.store.drop_value(odd.clone()).await.unwrap());
    bench.restart().await;
    assert_eq!(found(&bench, &odd).await, None);
}

async fn keys_come_in_order_page_by_page(bench: Bench) {
    for key in ["c", "a", "é", "b", "B", "a b", ""] {
        keep(&bench, &place("b", key), b"x", u64::MAX).await.unwrap();
    }
    keep(&bench, &place("other", "d"), b"x", u64::MAX).await.unwrap();
    bench.store.drop_value(place("b", "c")).await.unwrap();
    let keys = async |after: Option<&str>, max| {
        bench.store.keys_of_values(tenant(), "b".to_owned(), after.map(str::to_owned), max).await.unwrap()
    };
    assert_eq!(keys(None, 99).await, ["", "B", "a", "a b", "b", "é"]);
    assert_eq!(keys(Some(""), 2).await, ["B", "a"]);
    assert_eq!(keys(Some("B"), 2).await, ["a", "a b"]);
    assert_eq!(keys(Some("a c"), 9).await, ["b", "é"], "none that is there");
    assert_eq!(keys(Some("é"), 2).await, [""; 0]);
    assert_eq!(keys(None, 0).await, [""; 0]);
}

async fn keys_that_go_meanwhile_hide_no_others(bench: Bench) {
    let all: Vec<String> = (0..9).map(|n| format!("k{n}")).collect();
    for key in &all {
        keep(&bench, &place("b", key), b"x", u64::MAX).await.unwrap();
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = bench.store.keys_of_values(tenant(), "b".to_owned(), after.clone(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        for key in &page {
            assert!(bench.store.drop_value(place("b", key)).await.unwrap());
        }
        found.extend(page);
    }
    assert_eq!(found, all);
}

async fn numbers_add_up_and_others_do_not(mut bench: Bench) {
    let add =
        async |bench: &Bench, key: &str, by| bench.store.add_to_value(place("b", key), by, u64::MAX).await.unwrap();
    assert_eq!(add(&bench, "n", 0).await, Ok(0));
    assert_eq!(add(&bench, "n", (1 << 53) + 1).await, Ok((1 << 53) + 1));
    bench.restart().await;
    assert_eq!(add(&bench, "n", 2).await, Ok((1 << 53) + 3));
    assert_eq!(found(&bench, &place("b", "n")).await.unwrap(), b"9007199254740995");
    for by in [i64::MAX as u64 - 1, u64::MAX] {
        assert_eq!(add(&bench, "n", by).await, Err(Unkept::NoCount));
    }
    assert_eq!(add(&bench, "most", i64::MAX as u64).await, Ok(i64::MAX as u64));
    for odd in [&b"x"[..], b"", b"-1", b"+1", b"01", b" 1", b"1.0", b"1e3", b"\xff", b"9223372036854775808"] {
        keep(&bench, &place("b", "odd"), odd, u64::MAX).await.unwrap();
        assert_eq!(add(&bench, "odd", 1).await, Err(Unkept::NoCount), "{odd:?}");
        assert_eq!(found(&bench, &place("b", "odd")).await.as_deref(), Some(odd));
    }
}

async fn a_tenant_keeps_as_much_as_it_may(mut bench: Bench) {
    let most = 2 * VALUE_OVERHEAD_BYTES + 12;
    let (one, two, three) = (place("b", "1"), place("c", "2"), place("b", "3"));
    assert_eq!(keep(&bench, &one, &[0; 4], most).await, Ok(()));
    assert_eq!(keep(&bench, &two, &[0; 5], most).await, Err(Unkept::Full), "one byte more than there is room for");
    assert_eq!(keep(&bench, &two, &[0; 4], most).await, Ok(()));
    assert_eq!(keep(&bench, &three, b"", most).await, Err(Unkept::Full));
    assert_eq!(bench.store.add_to_value(three.clone(), 1, most).await.unwrap(), Err(Unkept::Full));
    assert_eq!(found(&bench, &three).await, None);
    bench.restart().await;
    assert_eq!(keep(&bench, &one, &[0; 5], most).await, Err(Unkept::Full));
    assert_eq!(keep(&bench, &one, &[0; 3], 0).await, Ok(()), "what becomes less is always kept");
    assert_eq!(keep(&bench, &two, &[0; 5], most).await, Ok(()));
    assert!(bench.store.drop_value(two).await.unwrap());
    assert_eq!(keep(&bench, &three, &[1; 4], most).await, Ok(()));
    let other = Place { tenant: TenantId::new("other").unwrap(), ..three };
    assert_eq!(keep(&bench, &other, &[1; 4], VALUE_OVERHEAD_BYTES + 6).await, Ok(()), "each tenant has its own");
}

async fn all_values_of_a_tenant_are_dropped_together(mut bench: Bench) {
    let other = Place { tenant: TenantId::new("other").unwrap(), ..place("b", "k") };
    for place in [place("b", "k"), place("b", "l"), place("c", "k"), other.clone()] {
        keep(&bench, &place, b"x", u64::MAX).await.unwrap();
    }
    assert!(bench.store.drop_value(place("b", "l")).await.unwrap());
    bench.store.drop_values(tenant()).await.unwrap();
    bench.restart().await;
    for gone in [place("b", "k"), place("c", "k")] {
        assert_eq!(found(&bench, &gone).await, None);
    }
    assert_eq!(bench.store.keys_of_values(tenant(), "b".to_owned(), None, 9).await.unwrap(), [""; 0]);
    assert_eq!(found(&bench, &other).await.as_deref(), Some(&b"x"[..]));
    assert_eq!(keep(&bench, &place("b", "k"), b"x", VALUE_OVERHEAD_BYTES + 3).await, Ok(()), "and their room is free");
}
