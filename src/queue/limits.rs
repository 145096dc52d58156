//! Limits that all consumers of a queue share: [`Limits::shared`]. Here, since limits themselves know nothing of queues.

use super::Queue;
use crate::limits::Limits;

impl Limits {
    /// Shares these limits with all pools that use them with the same queue on a Redis server, in any number of processes: they
    /// hold for all requests of these pools together. All of them should have the same values. Without this, each pool keeps its own.
    ///
    /// - **Rates** are kept on the server's clock. A pool is told up to half a second ahead when it may send; what it does not
    ///   send in time, it asks for again. So that requests that are late never make more than rate and burst allow, in any interval, half of
    ///   the burst is kept back for them, rounded down. If that is less than the rate allows in 50 ms, there may be as many more as
    ///   the rate allows in that time.
    /// - **Requests in flight** are counted on the server. If several pools wait for an origin, they take turns. Places of a pool that
    ///   ends go back in the background; those of a process that is killed, or ends right after dropping the pool, when the
    ///   [lease](super::RedisQueue::lease) has run out. Only a pool that hangs or is cut off for longer than that, and comes back
    ///   with requests in flight, makes more of them.
    /// - **Cool-downs**: an origin that pauses one pool pauses all of them.
    ///
    /// While the server is away, nothing more is sent when that is noticed: at once over rates, and for places and cool-downs when
    /// the connection ends, or the lease. If the queue is gone for good, the pool is cancelled. A pool with shared limits takes two
    /// threads and two connections more. If the server's clock jumps forward, limits may be given out twice.
    ///
    /// With a journal, which only one process has open, this changes nothing: each pool keeps its own limits.
    ///
    /// ```no_run
    /// use threaded::queue::RedisQueue;
    /// use threaded::{Limits, Pool};
    ///
    /// let queue = RedisQueue::open("redis://10.0.0.5/0", "backfill")?;
    /// // However many processes do this: 100 requests a second in all, and at most 8 in flight to each origin.
    /// let limits = Limits::new().rate(100.0, 10).in_flight_per_origin(8).shared(&queue);
    /// for delivery in Pool::builder().limits(limits).deliveries(&queue)? {
    ///     delivery?.ack()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shared(mut self, queue: &Queue) -> Self {
        self.server = queue.0.limits();
        self
    }
}
