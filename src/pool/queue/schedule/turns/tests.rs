use super::*;

fn ids(count: usize) -> Vec<OriginId> {
    (1..=count).map(OriginId::numbered).collect()
}

/// Lets workers take turns, each served origin lining up again, and notes who was served by whom.
fn served(turns: &mut Turns, workers: usize, times: usize) -> Vec<(usize, OriginId)> {
    let mut served = Vec::new();
    for turn in 0..times {
        let worker = turn % workers;
        let origin = turns
            .next(Instant::now(), worker)
            .expect("all stand in line again");
        turns.push(origin);
        served.push((worker, origin));
    }
    served
}

#[test]
fn without_affinity_it_is_round_robin() {
    let mut turns = Turns::new(false);
    let origins = ids(3);
    origins.iter().for_each(|origin| turns.push(*origin));
    let order: Vec<OriginId> = served(&mut turns, 2, 9)
        .into_iter()
        .map(|(_, origin)| origin)
        .collect();
    assert_eq!(order, [&origins[..], &origins, &origins].concat());
}

#[test]
fn who_is_not_in_line_has_no_turn() {
    for affinity in [false, true] {
        let mut turns = Turns::new(affinity);
        assert_eq!(turns.next(Instant::now(), 0), None);
        let origin = ids(1)[0];
        turns.push(origin);
        assert!(turns.any());
        assert_eq!(turns.next(Instant::now(), 1), Some(origin));
        assert!(!turns.any());
        assert_eq!(turns.next(Instant::now(), 1), None);
        turns.push(origin);
        turns.clear();
        assert_eq!(turns.next(Instant::now(), 1), None);
    }
}

#[test]
fn with_affinity_each_origin_stays_with_one_worker() {
    let mut turns = Turns::new(true);
    let origins = ids(12);
    origins.iter().for_each(|origin| turns.push(*origin));
    let served = served(&mut turns, 3, 12 * LONGEST_RUN * 10);
    for origin in &origins {
        let mut workers: Vec<usize> = served
            .iter()
            .filter(|(_, other)| other == origin)
            .map(|(worker, _)| *worker)
            .collect();
        assert!(
            workers.len() >= 5 * LONGEST_RUN,
            "{origin:?} is not starved"
        );
        workers.dedup();
        assert_eq!(workers.len(), 1, "{origin:?}");
    }
    for worker in 0..3 {
        let own: Vec<OriginId> = served
            .iter()
            .filter(|(other, _)| *other == worker)
            .map(|(_, origin)| *origin)
            .collect();
        for run in own.chunk_by(|one, other| one == other) {
            assert!(run.len() <= LONGEST_RUN);
        }
    }
}

#[test]
fn no_worker_idles_while_somebody_stands_in_line() {
    let mut turns = Turns::new(true);
    let origins = ids(2);
    origins.iter().for_each(|origin| turns.push(*origin));
    // The first worker serves both and has both in its line.
    for _ in 0..3 * LONGEST_RUN {
        let origin = turns
            .next(Instant::now(), 0)
            .expect("somebody stands in line");
        turns.push(origin);
    }
    assert!(turns.next(Instant::now(), 1).is_some());
    assert!(turns.next(Instant::now(), 2).is_some());
    assert_eq!(turns.next(Instant::now(), 3), None);
}

#[test]
fn an_origin_whose_worker_is_held_up_is_served_by_another() {
    let start = Instant::now();
    let mut turns = Turns::new(true);
    let origins = ids(3);
    turns.push(origins[0]);
    turns.push(origins[1]);
    // The first worker has served both, and does not come back.
    for _ in 0..=LONGEST_RUN {
        let origin = turns.next(start, 0).expect("somebody stands in line");
        turns.push(origin);
    }
    turns.push(origins[2]);
    let mut served_by_second = |at: Instant| -> Vec<OriginId> {
        let turns = (0..4 * LONGEST_RUN).map(|_| {
            let origin = turns.next(at, 1).expect("somebody stands in line");
            turns.push(origin);
            origin
        });
        turns.collect()
    };
    let served = served_by_second(start + PATIENCE / 2);
    assert!(
        served.iter().all(|origin| *origin == origins[2]),
        "its own is nearer"
    );
    let served = served_by_second(start + PATIENCE);
    assert!(served.contains(&origins[0]) && served.contains(&origins[1]));
}

#[test]
fn a_run_is_bounded_by_time() {
    let start = Instant::now();
    let mut turns = Turns::new(true);
    let origins = ids(2);
    origins.iter().for_each(|origin| turns.push(*origin));
    let mut serve = |at: Instant| {
        let origin = turns.next(at, 0).expect("somebody stands in line");
        turns.push(origin);
        origin
    };
    assert_eq!(serve(start), origins[0]);
    assert_eq!(serve(start + LONGEST_RUN_TIME / 2), origins[0]);
    assert_eq!(serve(start + LONGEST_RUN_TIME), origins[1]);
    assert_eq!(serve(start + LONGEST_RUN_TIME * 3 / 2), origins[1]);
    assert_eq!(serve(start + LONGEST_RUN_TIME * 2), origins[0]);
}

#[test]
fn many_origins_with_a_job_each_are_served_in_no_time() {
    let mut turns = Turns::new(true);
    let origins = ids(200_000);
    let now = Instant::now();
    // All of them are at home with the first worker.
    for origin in &origins {
        turns.push(*origin);
        assert_eq!(turns.next(now, 0), Some(*origin));
    }
    origins.iter().for_each(|origin| turns.push(*origin));
    let served = std::iter::from_fn(|| turns.next(now, 1)).count();
    assert_eq!(served, origins.len());
}

#[test]
fn lines_do_not_grow_with_the_number_of_turns() {
    let mut turns = Turns::new(true);
    let origins = ids(5);
    origins.iter().for_each(|origin| turns.push(*origin));
    served(&mut turns, 2, 10_000);
    let own = turns.workers.iter().map(|worker| worker.line.places.len());
    let places = turns.common.places.len() + own.sum::<usize>();
    assert!(places < 100, "{places}");
}
