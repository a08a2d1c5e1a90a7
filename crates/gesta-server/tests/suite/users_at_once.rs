//! Two administrators who change each other at the same moment.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use gesta_store::{
    Append, Appended, Capabilities, EventStore, Head, ListStreams, Pages, ReadAll, ReadStream,
    StoreFuture, StreamDescription, StreamName, Subscribe, Subscription, memory::MemoryStore,
};
use tokio::sync::Barrier;
use tonic::{Code, Status};

use crate::{
    client::users::{details_resp::UserDetails, *},
    secured::{Secured, Users},
};

/// A store whose next two appends to streams of users happen together.
#[derive(Clone)]
struct MeetingStore {
    store: MemoryStore,
    meeting: Arc<Meeting>,
}

struct Meeting {
    is_due: AtomicBool,
    both: Barrier,
}

impl MeetingStore {
    fn new() -> Self {
        let meeting = Meeting { is_due: AtomicBool::new(false), both: Barrier::new(2) };
        Self { store: MemoryStore::new(), meeting: Arc::new(meeting) }
    }
}

impl EventStore for MeetingStore {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        Box::pin(async move {
            let is_of_user =
                append.streams.iter().any(|part| part.stream.as_str().contains("$user-"));
            if is_of_user && self.meeting.is_due.load(Ordering::Relaxed) {
                self.meeting.both.wait().await;
                self.meeting.is_due.store(false, Ordering::Relaxed);
            }
            self.store.append(append).await
        })
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        self.store.read_stream(read)
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        self.store.read_all(read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        self.store.subscribe(subscribe)
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        self.store.describe_stream(stream)
    }

    fn list_streams(&self, list: ListStreams) -> StoreFuture<'_, Vec<StreamName>> {
        self.store.list_streams(list)
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        self.store.head()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
}

/// A change that takes the rights of an administrator.
#[derive(Clone, Copy, Debug)]
enum Removal {
    Delete,
    Disable,
    Update,
}

async fn remove(users: &mut Users, login: &str, removal: Removal) -> Result<(), Status> {
    let login_name = login.to_owned();
    match removal {
        Removal::Delete => {
            let options = Some(delete_req::Options { login_name });
            users.delete(DeleteReq { options }).await.map(drop)
        }
        Removal::Disable => {
            let options = Some(disable_req::Options { login_name });
            users.disable(DisableReq { options }).await.map(drop)
        }
        Removal::Update => {
            let (password, full_name) = (String::new(), String::new());
            let groups = Vec::new();
            let options = Some(update_req::Options { login_name, password, full_name, groups });
            users.update(UpdateReq { options }).await.map(drop)
        }
    }
}

async fn administrators(users: &mut Users) -> Vec<UserDetails> {
    let mut answer = users.details(DetailsReq { options: None }).await.unwrap().into_inner();
    let mut found = Vec::new();
    while let Some(user) = answer.message().await.unwrap() {
        let user = user.user_details.unwrap();
        if !user.disabled && user.groups.iter().any(|group| group == "$admins") {
            found.push(user);
        }
    }
    found
}

async fn one_remains_after(removal: Removal) {
    let store = MeetingStore::new();
    let scene = Secured::over(Arc::new(store.clone())).await;
    scene.create_user("ann", &["$admins"]).await;
    let (mut admin, mut ann) = (scene.admins_users().await, scene.users("ann", "changeit").await);
    assert_eq!(administrators(&mut admin).await.len(), 2);
    assert_eq!(administrators(&mut ann).await.len(), 2);
    store.meeting.is_due.store(true, Ordering::Relaxed);
    let (by_admin, by_ann) =
        tokio::join!(remove(&mut admin, "ann", removal), remove(&mut ann, "admin", removal));
    let (mut winner, refused) = match (by_admin, by_ann) {
        (Ok(()), Err(refused)) => (admin, refused),
        (Err(refused), Ok(())) => (ann, refused),
        both => panic!("{removal:?}: {both:?}"),
    };
    assert_eq!(refused.code(), Code::FailedPrecondition, "{removal:?}: {refused}");
    assert!(refused.message().contains("at the same time"), "{refused}");
    assert_eq!(administrators(&mut winner).await.len(), 1, "{removal:?}");
}

#[tokio::test]
async fn of_two_administrators_who_delete_each_other_one_remains() {
    one_remains_after(Removal::Delete).await;
}

#[tokio::test]
async fn of_two_administrators_who_disable_each_other_one_remains() {
    one_remains_after(Removal::Disable).await;
}

#[tokio::test]
async fn of_two_administrators_who_take_each_others_groups_one_remains() {
    one_remains_after(Removal::Update).await;
}
