//! One task for each wall of the sandbox.
#![allow(missing_docs, unconditional_recursion, clippy::empty_loop)]

use std::collections::HashMap;
use std::hint::black_box;
use std::io::Write;

use lovage_guest::prelude::*;

#[task]
fn panic_with(message: String) {
    panic!("{message}");
}

#[task]
fn panic_after_noise() {
    for _ in 0..100_000 {
        eprintln!("nothing to see here");
    }
    panic!("at last");
}

#[task]
fn abort() {
    std::process::abort();
}

#[task]
fn exit() {
    std::process::exit(3);
}

#[task]
fn wild_pointer() -> u8 {
    let nowhere = black_box(0xffff_0000_usize) as *const u8;
    // SAFETY: there is none: the sandbox must stop it.
    unsafe { nowhere.read_volatile() }
}

#[task]
fn recurse() -> u64 {
    fn deeper(n: u64) -> u64 {
        let frame = black_box([n; 64]);
        deeper(n + 1) + frame[(n % 64) as usize]
    }
    deeper(0)
}

#[task]
fn spin() {
    loop {
        black_box(0);
    }
}

#[task]
fn spin_in_memory_fill() {
    let mut block = vec![0_u8; 32 << 20];
    loop {
        block.fill(black_box(1));
    }
}

#[task]
fn hoard() -> usize {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1_u8; 1 << 20]));
    }
}

#[task]
fn hoard_politely() -> String {
    let mut block: Vec<u8> = Vec::new();
    match block.try_reserve(1 << 30) {
        Ok(()) => "there was room".to_owned(),
        Err(_) => "there was none".to_owned(),
    }
}

#[task]
fn flood_stdout(mib: usize) -> usize {
    let line = [b'x'; 1 << 16];
    let mut out = std::io::stdout();
    (0..mib * 16).map(|_| out.write(&line).unwrap_or(0)).sum()
}

#[task]
fn flood_log(ctx: &Context, records: usize) {
    for n in 0..records {
        ctx.log(LogLevel::Info, format!("record {n}"));
    }
}

#[task]
fn large_result(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[task]
fn large_state(ctx: &Context, bytes: usize) -> TaskResult<()> {
    ctx.update_state("PROGRESS", "x".repeat(bytes))?;
    Ok(())
}

#[task]
fn reserved_state(ctx: &Context) -> TaskResult<()> {
    ctx.update_state("SUCCESS", 1)?;
    Ok(())
}

#[task]
fn many_pollables(ctx: &Context) -> usize {
    let kept: Vec<_> = (0..10_000).map(|_| ctx.soft_limit_pollable()).collect();
    kept.len()
}

#[task]
fn many_subtasks(ctx: &Context, count: usize) -> TaskResult<()> {
    for _ in 0..count {
        spin::delay(ctx)?;
    }
    Ok(())
}

#[task]
fn sleep_past_everything(ctx: &Context) -> TaskResult<()> {
    ctx.sleep(1000.0)
}

#[task]
fn sleep_in_std() {
    std::thread::sleep(std::time::Duration::from_secs(1000));
}

#[task]
fn sleep_for_ever_in_retry(ctx: &Context) -> TaskResult<()> {
    Err(ctx.retry().countdown(f64::INFINITY).into())
}

#[task]
fn look_around() -> HashMap<String, String> {
    let mut seen = HashMap::new();
    seen.insert("env".to_owned(), std::env::vars().count().to_string());
    seen.insert("args".to_owned(), std::env::args().count().to_string());
    seen.insert("root".to_owned(), std::fs::read_dir("/").is_ok().to_string());
    seen.insert("passwd".to_owned(), std::fs::read("/etc/passwd").is_ok().to_string());
    seen.insert("tcp".to_owned(), std::net::TcpStream::connect("127.0.0.1:80").is_ok().to_string());
    let mut line = String::new();
    let stdin = std::io::stdin().read_line(&mut line);
    seen.insert("stdin".to_owned(), format!("{:?}", stdin.ok()));
    seen
}

export_tasks!(
    panic_with,
    panic_after_noise,
    abort,
    exit,
    wild_pointer,
    recurse,
    spin,
    spin_in_memory_fill,
    hoard,
    hoard_politely,
    flood_stdout,
    flood_log,
    large_result,
    large_state,
    reserved_state,
    many_pollables,
    many_subtasks,
    sleep_past_everything,
    sleep_in_std,
    sleep_for_ever_in_retry,
    look_around,
);
