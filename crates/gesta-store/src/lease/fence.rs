//! The fence of a read model: its transactions refuse the token of an earlier lease.

use super::FencingToken;
use crate::{DatabaseError, Partition, ReadModelTx};

/// Property of a read model with the greatest token of its writers.
const PROPERTY: &str = "$fencing-token";

impl FencingToken {
    /// Admits a transaction under the lease of this token. After its commit, the read model refuses
    /// the tokens of earlier leases.
    ///
    /// Call it in each transaction of a task that runs under a lease. A node that takes a task over
    /// commits a transaction with its new token before it does anything else: from then on, the
    /// node that had the lease before cannot write.
    ///
    /// ```
    /// use gesta_store::{
    ///     CreateReadModel, DatabaseError, FencingToken, MemoryReadModels, ReadModelStore,
    ///     ReadModelTx, Stage,
    /// };
    ///
    /// # gesta_store::conformance::block_on(async {
    /// let store = MemoryReadModels::new();
    /// let create = CreateReadModel::new("names", 1, Stage::Live);
    /// let names = store.create_read_model(create).await?;
    /// let mut tx = store.begin(&names).await?;
    /// FencingToken::new(2).fence(&mut tx).await?;
    /// tx.commit().await?;
    ///
    /// let mut late = store.begin(&names).await?;
    /// let refused = FencingToken::new(1).fence(&mut late).await;
    /// assert!(matches!(refused, Err(DatabaseError::Fenced { .. })));
    /// # Ok::<(), DatabaseError>(())
    /// # }).expect("the later lease writes");
    /// ```
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Fenced`] if a later lease has written. Roll back, and stop the work.
    /// - [`DatabaseError::Corrupt`] if the stored token is no number.
    pub async fn fence(self, tx: &mut impl ReadModelTx) -> Result<(), DatabaseError> {
        self.fence_by(tx, PROPERTY).await
    }

    /// Admits a transaction of one partition. The leases of other partitions have tokens of their
    /// own.
    ///
    /// # Errors
    ///
    /// The same as [`fence`](Self::fence).
    pub async fn fence_partition(
        self,
        tx: &mut impl ReadModelTx,
        partition: Partition,
    ) -> Result<(), DatabaseError> {
        let (index, count) = (partition.index(), partition.count());
        self.fence_by(tx, &format!("{PROPERTY}-{index}-of-{count}")).await
    }

    async fn fence_by(
        self,
        tx: &mut impl ReadModelTx,
        property: &str,
    ) -> Result<(), DatabaseError> {
        let stored = tx.property(property).await?;
        let admitted = stored.map(|text| text.parse().map(FencingToken::new).map_err(|_| text));
        match admitted {
            Some(Err(text)) => Err(DatabaseError::Corrupt {
                reason: format!("the property {property} is {text:?}, which is no number"),
                source: None,
            }),
            Some(Ok(admitted)) if admitted > self => {
                Err(DatabaseError::Fenced { token: self, admitted })
            }
            Some(Ok(admitted)) if admitted == self => Ok(()),
            Some(Ok(_)) | None => tx.set_property(property, &self.to_string()).await,
        }
    }
}
