import io.kurrent.dbclient.CreatePersistentSubscriptionToAllOptions;
import io.kurrent.dbclient.CreatePersistentSubscriptionToStreamOptions;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.KurrentDBPersistentSubscriptionsClient;
import io.kurrent.dbclient.NackAction;
import io.kurrent.dbclient.PersistentSubscription;
import io.kurrent.dbclient.PersistentSubscriptionListener;
import io.kurrent.dbclient.PersistentSubscriptionToStreamInfo;
import io.kurrent.dbclient.ResolvedEvent;
import io.kurrent.dbclient.SubscriptionFilter;
import io.kurrent.dbclient.UpdatePersistentSubscriptionToStreamOptions;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Consumer groups: acknowledgements, retries, parked events. */
final class Groups {
  private static final String GROUP = "mail";

  static void addTo(Map<String, Main.Scenario> scenarios) {
    scenarios.put("events are acknowledged, retried, parked and replayed", Groups::shares);
    scenarios.put("a group of the whole store has a filter", Groups::sharesAll);
    scenarios.put("groups are changed, listed and refused", Groups::manages);
  }

  /** An event with the number of its failures. */
  private static final class Delivery {
    final ResolvedEvent event;
    final int retries;

    Delivery(ResolvedEvent event, int retries) {
      this.event = event;
      this.retries = retries;
    }
  }

  /** A consumer whose events are taken one by one. */
  private static final class Consumer extends PersistentSubscriptionListener {
    private final BlockingQueue<Delivery> deliveries = new LinkedBlockingQueue<>();
    private final CompletableFuture<Void> ended = new CompletableFuture<>();

    @Override
    public void onEvent(PersistentSubscription subscription, int retries, ResolvedEvent event) {
      deliveries.add(new Delivery(event, retries));
    }

    @Override
    public void onCancelled(PersistentSubscription subscription, Throwable error) {
      ended.complete(null);
    }

    Delivery next() throws Exception {
      Delivery delivery = deliveries.poll(Main.PATIENCE_SECONDS, TimeUnit.SECONDS);
      Main.check(delivery != null, "no event came");
      return delivery;
    }
  }

  /** Options by which each finished event is worth a checkpoint at once. */
  private static CreatePersistentSubscriptionToStreamOptions eager() {
    return CreatePersistentSubscriptionToStreamOptions.get()
        .fromStart()
        .checkpointLowerBound(1)
        .checkpointUpperBound(1)
        .maxRetryCount(1);
  }

  private static PersistentSubscriptionToStreamInfo info(
      KurrentDBPersistentSubscriptionsClient groups, String stream) throws Exception {
    Optional<PersistentSubscriptionToStreamInfo> info =
        Main.await(groups.getInfoToStream(stream, GROUP));
    return info.orElseThrow(() -> new AssertionError("the group is not found"));
  }

  private static void shares(KurrentDBClient client) throws Exception {
    KurrentDBPersistentSubscriptionsClient groups =
        KurrentDBPersistentSubscriptionsClient.from(client);
    String stream = Main.fresh("order");
    Main.await(client.appendToStream(stream, Main.placed(1), Main.placed(2), Main.placed(3)));
    Main.await(groups.createToStream(stream, GROUP, eager()));
    Consumer consumer = new Consumer();
    PersistentSubscription subscription =
        Main.await(groups.subscribeToStream(stream, GROUP, consumer));
    Delivery[] received = {consumer.next(), consumer.next(), consumer.next()};
    for (int n = 0; n < 3; n++) {
      Main.check(Main.number(received[n].event) == n + 1, received[n].event);
    }
    subscription.ack(received[0].event);
    subscription.nack(NackAction.Park, "broken", received[1].event);
    subscription.nack(NackAction.Retry, "later", received[2].event);
    Delivery again = consumer.next();
    Main.check(Main.number(again.event) == 3 && again.retries == 1, again.event);
    subscription.nack(NackAction.Skip, "of no use", again.event);
    Main.eventually(
        "one is parked, the others are done",
        () -> {
          PersistentSubscriptionToStreamInfo info = info(groups, stream);
          return info.getStats().getParkedMessageCount() == 1
              && info.getStats().getLastCheckpointedEventRevision().equals(Optional.of(2L));
        });
    Main.await(groups.replayParkedMessagesToStream(stream, GROUP));
    Delivery replayed = consumer.next();
    Main.check(Main.number(replayed.event) == 2, replayed.event);
    subscription.ack(replayed.event);
    Main.eventually(
        "none is parked", () -> info(groups, stream).getStats().getParkedMessageCount() == 0);
    Main.check(info(groups, stream).getConnections().size() == 1, "the connections");
    subscription.stop();
  }

  private static void sharesAll(KurrentDBClient client) throws Exception {
    KurrentDBPersistentSubscriptionsClient groups =
        KurrentDBPersistentSubscriptionsClient.from(client);
    String stream = Main.fresh("order");
    String group = Main.fresh("group");
    Main.await(client.appendToStream(Main.fresh("noise"), Main.placed(1)));
    Main.await(client.appendToStream(stream, Main.placed(2)));
    CreatePersistentSubscriptionToAllOptions options =
        CreatePersistentSubscriptionToAllOptions.get()
            .fromStart()
            .filter(SubscriptionFilter.newBuilder().addStreamNamePrefix(stream).build());
    Main.await(groups.createToAll(group, options));
    Consumer consumer = new Consumer();
    PersistentSubscription subscription = Main.await(groups.subscribeToAll(group, consumer));
    Delivery delivery = consumer.next();
    Main.check(delivery.event.getEvent().getStreamId().equals(stream), delivery.event);
    subscription.ack(delivery.event);
    Main.await(groups.deleteToAll(group));
    Main.await(consumer.ended);
  }

  private static void manages(KurrentDBClient client) throws Exception {
    KurrentDBPersistentSubscriptionsClient groups =
        KurrentDBPersistentSubscriptionsClient.from(client);
    String stream = Main.fresh("order");
    // The package has no exceptions of its own for groups.
    Main.Call delete = () -> groups.deleteToStream(stream, GROUP);
    Throwable missing = Main.refused(Throwable.class, delete);
    Main.check(missing.toString().contains("NOT_FOUND"), missing);
    Main.check(!Main.await(groups.getInfoToStream(stream, GROUP)).isPresent(), "no group yet");
    Main.await(groups.createToStream(stream, GROUP, eager()));
    Throwable twice =
        Main.refused(Throwable.class, () -> groups.createToStream(stream, GROUP, eager()));
    Main.check(twice.toString().contains("ALREADY_EXISTS"), twice);
    UpdatePersistentSubscriptionToStreamOptions changed =
        UpdatePersistentSubscriptionToStreamOptions.get().maxRetryCount(7);
    Main.await(groups.updateToStream(stream, GROUP, changed));
    Main.check(info(groups, stream).getSettings().getMaxRetryCount() == 7, "the settings");
    Main.check(Main.await(groups.listToStream(stream)).size() == 1, "the groups of the stream");
    boolean isListed =
        Main.await(groups.listAll()).stream().anyMatch(it -> it.getEventSource().equals(stream));
    Main.check(isListed, "all groups");
    Main.await(groups.restartSubsystem());
    Main.await(groups.deleteToStream(stream, GROUP));
  }

  private Groups() {}
}
