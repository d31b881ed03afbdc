//! The tasks that Celery's own integration suite calls, under the names that it calls them by. What the suite's Python does
//! with a Redis client, a file or an environment, these do by what the module is granted.
// The names of parameters are the suite's: its clients pass arguments by them.
#![allow(missing_docs, clippy::disallowed_names)]

mod canvases;
mod failing;
mod outside;
mod plain;
mod replacing;
mod requests;
mod retrying;
mod signatures;

use lovage_guest::prelude::*;

export_tasks!(
    plain::identity,
    plain::add,
    plain::mul,
    plain::add_not_typed,
    plain::add_ignore_result,
    plain::add_with_result,
    plain::delayed_sum,
    plain::delayed_sum_with_soft_guard,
    plain::tsum,
    plain::xsum,
    plain::print_unicode,
    plain::return_exception,
    plain::sleeping,
    plain::replaced_with_me,
    plain::add_pydantic,
    plain::add_pydantic_string_annotations,
    plain::soft_time_limit_must_exceed_time_limit,
    outside::write_to_file_and_return_int,
    outside::sum_and_record,
    outside::redis_echo,
    outside::redis_echo_group_id,
    outside::redis_count,
    outside::errback_old_style,
    outside::errback_new_style,
    outside::errback_old_style_with_args,
    outside::errback_new_style_with_args,
    canvases::chain_add,
    canvases::chord_add,
    canvases::add_to_all_to_chord,
    canvases::add_chord_to_chord,
    canvases::build_chain_inside_task,
    replacing::add_replaced,
    replacing::record_replaced_task_nesting,
    replacing::add_replaced_with_chain,
    replacing::replace_with_chain,
    replacing::replace_with_chain_which_raises,
    replacing::replace_with_empty_chain,
    replacing::replace_with_chain_which_contains_a_group,
    replacing::add_to_all,
    replacing::second_order_replace1,
    replacing::second_order_replace2,
    replacing::fail_replaced,
    replacing::replace_with_stamped_task,
    requests::ids,
    requests::collect_ids,
    requests::return_priority,
    requests::return_request_eta,
    requests::return_properties,
    requests::return_request_time_limits,
    requests::task_with_declared_time_limits,
    retrying::retry,
    retrying::retry_unpickleable,
    retrying::retry_with_args_after_kwargs,
    retrying::retry_with_kwargs_after_args,
    retrying::retry_once,
    retrying::retry_once_ignore_result,
    retrying::retry_once_with_result,
    retrying::retry_once_priority,
    retrying::retry_once_headers,
    retrying::auto_retry_class_task,
    retrying::reject_then_succeed,
    retrying::reject_without_requeue,
    failing::raise_error,
    failing::fail,
    failing::fail_unpickleable,
    signatures::return_nested_signature_chain_chain,
    signatures::return_nested_signature_chain_group,
    signatures::return_nested_signature_chain_chord,
    signatures::return_nested_signature_group_chain,
    signatures::return_nested_signature_group_group,
    signatures::return_nested_signature_group_chord,
    signatures::return_nested_signature_chord_chain,
    signatures::return_nested_signature_chord_group,
    signatures::return_nested_signature_chord_chord,
    signatures::rebuild_signature,
);
