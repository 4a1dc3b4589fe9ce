//! The description that etcd gives of itself: its members, its leader, its size and its alarms.

use crate::{
    EtcdError,
    api::{AlarmType, Member},
    session::Session,
};
use cfgsync_store::{Database, DatabaseMember};

/// Asks etcd about itself.
pub(crate) async fn describe(session: &Session) -> Result<Database, EtcdError> {
    let status = session.status().await?;
    let members = session.members().await?;
    let alarms = session.alarms().await?;
    let name_of = |id: u64| {
        let member = members.iter().find(|member| member.id == id);
        member.map_or_else(|| format!("{id:x}"), |member| member.name.clone())
    };
    let alarms = alarms.iter().map(|alarm| {
        let what = match alarm.alarm() {
            AlarmType::Nospace => "the database has reached its quota, and takes no more changes",
            AlarmType::Corrupt => "the data are corrupt",
            AlarmType::None => "unknown alarm",
        };
        format!("{}: {what}", name_of(alarm.member_id))
    });
    Ok(Database {
        version: format!("etcd {}", status.version),
        alarms: alarms.chain(status.errors.iter().cloned()).collect(),
        members: members
            .iter()
            .map(|member| describe_member(member, status.leader))
            .collect(),
        size_bytes: status.db_size.unsigned_abs(),
        quota_bytes: (status.db_size_quota > 0).then_some(status.db_size_quota.unsigned_abs()),
    })
}

fn describe_member(member: &Member, leader: u64) -> DatabaseMember {
    DatabaseMember {
        name: member.name.clone(),
        urls: member.client_ur_ls.clone(),
        is_leader: member.id == leader,
    }
}
