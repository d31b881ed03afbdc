//! (e) Memory: a daemon at rest, and with thousands of tasks suspended in the middle of a run; each with all of its processes,
//! where tasks run in processes of their own and where they run in the daemon's.

use std::time::Duration;

use anyhow::ensure;
use lovage_client::Client;
use lovage_model::{Json, ModuleName, TaskName, api::SubmitRequest};

use crate::rig::{Daemon, PROCESSES, Rig, Table};

pub(crate) fn measure(rig: &Rig, table: &mut Table) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        for isolation in [PROCESSES, "in-process"] {
            measure_in(isolation, rig, table).await?;
        }
        Ok(())
    })
}

async fn measure_in(isolation: &str, rig: &Rig, table: &mut Table) -> anyhow::Result<()> {
    let daemon = Daemon::start(isolation, &[])?;
    let client = daemon.client()?;
    client.push_module(&ModuleName::new("load")?, rig.component.clone().into(), false).await?;
    let rest = daemon.memory_mib()?;
    table.row("e", format!("daemon at rest, {isolation}"), format!("{rest:.0} MiB"), "goal: under 60 MiB");
    drop(daemon);

    let count = rig.count(10_000);
    let daemon = Daemon::start(isolation, &["--concurrency", &count.to_string()])?;
    let client = daemon.client()?;
    client.push_module(&ModuleName::new("load")?, rig.component.clone().into(), false).await?;
    let empty = daemon.memory_mib()?;
    suspend(&client, count).await?;
    let full = daemon.memory_mib()?;
    let asleep = format!("{count} tasks asleep at once, {isolation}");
    table.row("e", asleep, format!("{full:.0} MiB"), "goal: under 1,024 MiB");
    let each = (full - empty) * 1000.0 / count as f64;
    let what = format!("1,000 suspended tasks, {isolation}");
    table.row("e", what, format!("{each:.0} MiB"), format!("{:.0} KiB a task", each * 1.024));
    Ok(())
}

async fn suspend(client: &Client, count: usize) -> anyhow::Result<()> {
    let task = TaskName::new("load.sleep")?;
    let request = || -> anyhow::Result<SubmitRequest> {
        let args = Some(Json::parse("[600]".to_owned())?);
        Ok(SubmitRequest { task: Some(task.clone()), args, ..SubmitRequest::default() })
    };
    for _ in (0..count).step_by(1000) {
        let batch = (0..count.min(1000)).map(|_| request()).collect::<anyhow::Result<_>>()?;
        client.submit_batch(batch).await?;
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..1200 {
        ticks.tick().await;
        let running = client.readyz().await?.running;
        if running >= count as u64 {
            return Ok(());
        }
    }
    ensure!(false, "after two minutes only {} of {count} tasks are running", client.readyz().await?.running);
    Ok(())
}
