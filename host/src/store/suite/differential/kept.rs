//! What tenants keep beside their results: values and saved groups, few and small, so that steps meet.

use proptest::prelude::*;

use super::steps::{group_of, task_of, tenant_of};
use super::*;
use crate::store::{Place, Store};

/// Of a tenant each; the last number of those that keep something is how much the tenant may keep.
#[derive(Debug, Clone)]
pub(super) enum Keep {
    Value(u8, u8, usize, u64),
    Add(u8, u8, u64, u64),
    DropValue(u8, u8),
    Group(u8, u8, u8, u64),
    DropGroup(u8, u8),
    ExpireGroups(i64),
    DropAll(u8),
}

pub(super) fn keep() -> impl Strategy<Value = Keep> {
    let most = || prop_oneof![2 => Just(u64::MAX), 1 => 0..400_u64];
    prop_oneof![
        3 => (0..2_u8, 0..4_u8, 0..20_usize, most()).prop_map(|(t, key, bytes, most)| Keep::Value(t, key, bytes, most)),
        2 => (0..2_u8, 0..4_u8, 0..9_u64, most()).prop_map(|(t, key, by, most)| Keep::Add(t, key, by, most)),
        1 => (0..2_u8, 0..4_u8).prop_map(|(t, key)| Keep::DropValue(t, key)),
        3 => (0..2_u8, 0..3_u8, 0..3_u8, most()).prop_map(|(t, group, parts, most)| Keep::Group(t, group, parts, most)),
        1 => (0..2_u8, 0..3_u8).prop_map(|(t, group)| Keep::DropGroup(t, group)),
        1 => (-5..30_i64).prop_map(Keep::ExpireGroups),
        1 => (0..2_u8).prop_map(Keep::DropAll),
    ]
}

fn bucket_of(key: u8) -> String {
    format!("b{}", key / 2)
}

fn place(t: u8, key: u8) -> Place {
    Place { tenant: tenant_of(t), bucket: bucket_of(key), key: format!("k{key}") }
}

/// What a store says to a step.
async fn told(store: &dyn Store, step: &Keep, now: i64) -> String {
    match *step {
        Keep::Value(t, key, bytes, most) => {
            format!("{:?}", store.keep_value(place(t, key), vec![b'x'; bytes].into(), most).await)
        }
        Keep::Add(t, key, by, most) => format!("{:?}", store.add_to_value(place(t, key), by, most).await),
        Keep::DropValue(t, key) => format!("{:?}", store.drop_value(place(t, key)).await),
        Keep::Group(t, group, parts, most) => {
            let children = Some((0..parts).map(task_of).map(ResultTuple::of).collect());
            let group = ResultTuple { children, ..ResultTuple::of(group_of(group)) };
            format!("{:?}", store.save_group(&tenant_of(t), &group.id, &group, most, at(now)).await)
        }
        Keep::DropGroup(t, group) => format!("{:?}", store.delete_group(&tenant_of(t), &group_of(group)).await),
        Keep::ExpireGroups(ago) => format!("{:?}", store.expire_groups(at(now - ago), 99).await),
        Keep::DropAll(t) => format!("{:?}", store.drop_values(tenant_of(t)).await),
    }
}

/// All that a tenant keeps.
async fn kept(store: &dyn Store, t: u8) -> String {
    let mut all = String::new();
    for key in 0..4 {
        all += &format!("{:?} ", store.value(place(t, key)).await);
    }
    for bucket in [0, 2].map(bucket_of) {
        all += &format!("{:?} ", store.keys_of_values(tenant_of(t), bucket, None, 99).await);
    }
    for group in (0..3).map(group_of) {
        all += &format!("{:?} ", store.group(&tenant_of(t), &group).await);
    }
    all
}

impl Pair {
    pub(super) async fn keep(&self, step: &Keep) {
        let expected = told(&*self.memory.store, step, self.now).await;
        assert_eq!(expected, told(&*self.other.store, step, self.now).await, "{step:?}: left is the reference");
    }

    pub(super) async fn compare_kept(&self) {
        for t in 0..2 {
            let expected = kept(&*self.memory.store, t).await;
            assert_eq!(expected, kept(&*self.other.store, t).await, "{t}: left is the reference");
        }
    }
}
