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

/// Needs nothing of the stack in linear memory, so it exhausts the host's.
#[task]
fn recurse_plainly() -> u64 {
    #[inline(never)]
    fn deeper(n: u64) -> u64 {
        if black_box(n) == u64::MAX { 0 } else { deeper(n + 1) ^ n }
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
fn spin_visibly(ctx: &Context) -> TaskResult<()> {
    ctx.update_state("WAITING", 1)?;
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

/// Text that a terminal would obey, and bytes that are no text.
#[task]
fn write_rudely() {
    let rude = b"\x1b[2J\x1b]52;c;aGk=\x07\xff\xfe\n";
    // What is refused is not this task's concern.
    let _ = std::io::stdout().write_all(rude);
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

/// One log record of so many bytes.
#[task]
fn large_record(ctx: &Context, bytes: usize) {
    ctx.log(LogLevel::Info, "x".repeat(bytes));
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

/// Meets the soft limit in one of the ways there are; with `fallback` it catches it and returns.
#[task]
fn meet_soft_limit(ctx: &Context, how: String, fallback: bool) -> TaskResult<String> {
    let met = match how.as_str() {
        "poll" => {
            while !ctx.soft_time_limit_exceeded() {
                black_box(0);
            }
            ctx.check()
        }
        "check" => loop {
            if let Err(error) = ctx.check() {
                break Err(error);
            }
        },
        "sleep" => ctx.sleep(1000.0),
        "pollable" => {
            ctx.soft_limit_pollable().block();
            ctx.check()
        }
        "state" => loop {
            if let Err(error) = ctx.update_state("PROGRESS", 1) {
                break Err(error);
            }
        },
        other => return Err(TaskError::builtin("ValueError", other)),
    };
    match met {
        Err(error) if fallback && error.is_soft_time_limit_exceeded() => {
            // It is told once: a fallback may use its context again.
            ctx.update_state("FALLBACK", 1)?;
            ctx.sleep(0.0)?;
            Ok(format!("fell back after {how}"))
        }
        Err(error) => Err(error),
        Ok(()) => Ok("was not told".to_owned()),
    }
}

/// Leaves a mark all over its heap and its stack.
#[task]
fn leave_marks(seed: u64) -> usize {
    #[inline(never)]
    fn on_the_stack(mark: u64, depth: usize) -> u64 {
        let marks = black_box([mark; 1024]);
        if depth == 0 { marks[7] } else { on_the_stack(mark, depth - 1) ^ marks[3] }
    }
    let mark = mark(seed);
    black_box(vec![mark; 1 << 18]);
    black_box(on_the_stack(mark, 24));
    marks_in_memory(mark)
}

/// How often the mark of a seed is in memory.
#[task]
fn find_marks(seed: u64) -> usize {
    marks_in_memory(mark(seed))
}

/// Not the seed itself: that is in memory as an argument.
fn mark(seed: u64) -> u64 {
    black_box(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(target_arch = "wasm32")]
fn marks_in_memory(mark: u64) -> usize {
    let words = core::arch::wasm32::memory_size(0) * (64 << 10) / 8;
    // SAFETY: every address below the memory's size can be read; the first word is left out for being null.
    (1..words).filter(|at| unsafe { ((at * 8) as *const u64).read_volatile() } == mark).count()
}

#[cfg(not(target_arch = "wasm32"))]
fn marks_in_memory(_: u64) -> usize {
    0
}

/// Says that it is there, then waits to be stopped.
#[task]
fn wait_visibly(ctx: &Context) -> TaskResult<()> {
    ctx.update_state("WAITING", 1)?;
    ctx.sleep(1000.0)
}

/// Waits to be stopped the first time, and returns when it is delivered again.
#[task]
fn wait_once(ctx: &Context) -> TaskResult<String> {
    if ctx.request().delivery_info.redelivered {
        return Ok("redelivered".to_owned());
    }
    ctx.update_state("WAITING", 1)?;
    ctx.sleep(1000.0)?;
    Ok("was not stopped".to_owned())
}

/// Asks for one retry, then writes a line and waits to be stopped.
#[task]
fn wait_in_retry(ctx: &Context) -> TaskResult<()> {
    if ctx.request().retries == 0 {
        return Err(ctx.retry().countdown(0.0).into());
    }
    ctx.info("tried again");
    ctx.update_state("WAITING", 1)?;
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
    recurse_plainly,
    spin,
    spin_visibly,
    spin_in_memory_fill,
    hoard,
    hoard_politely,
    flood_stdout,
    write_rudely,
    flood_log,
    large_result,
    large_state,
    large_record,
    reserved_state,
    many_pollables,
    many_subtasks,
    sleep_past_everything,
    meet_soft_limit,
    leave_marks,
    find_marks,
    wait_visibly,
    wait_once,
    wait_in_retry,
    sleep_in_std,
    sleep_for_ever_in_retry,
    look_around,
);
