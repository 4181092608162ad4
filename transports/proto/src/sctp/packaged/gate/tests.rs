use super::*;

fn gate() -> Gate {
    let mut gate = Gate::new(16);
    let mut init = 5_u32.to_be_bytes().to_vec();
    init.extend([0; 8]);
    init.extend(100_u32.to_be_bytes());
    let packet = packet::build([0; 4], 1, packet::INIT_ACK, 0, &init);
    assert_eq!(gate.incoming(&packet, false, false), Verdict::Pass);
    gate
}

fn data(tsn: u32, stream: u16) -> Bytes {
    let mut value = tsn.to_be_bytes().to_vec();
    value.extend(stream.to_be_bytes());
    value.extend([0; 6]);
    value.push(1);
    packet::build([0; 4], 1, packet::DATA, 3, &value)
}

#[test]
fn streams_and_jumps_are_bounded() {
    let mut gate = gate();
    assert_eq!(gate.incoming(&data(100, 15), true, false), Verdict::Pass);
    assert!(matches!(
        gate.incoming(&data(101, 16), true, false),
        Verdict::Drop(_)
    ));
    let far = data(100 + MAX_TSN_JUMP, 0);
    assert!(matches!(gate.incoming(&far, true, false), Verdict::Drop(_)));
    let jump = |to: u32| packet::build([0; 4], 1, packet::FORWARD_TSN, 0, &to.to_be_bytes());
    assert_eq!(gate.incoming(&jump(150), true, false), Verdict::Pass);
    let wide = jump(100_u32.wrapping_add(1 << 30));
    assert!(matches!(
        gate.incoming(&wide, true, false),
        Verdict::Drop(_)
    ));
}

#[test]
fn what_comes_beside_an_error_report_is_taken() {
    let mut gate = gate();
    let report = packet::build([0; 4], 1, packet::ERROR, 0, &[0, 8, 0, 4]);
    assert!(matches!(
        gate.incoming(&report, true, false),
        Verdict::Drop(_)
    ));
    let mut both = report.to_vec();
    both.extend(&data(100, 3)[packet::HEADER..]);
    assert_eq!(
        gate.incoming(&both, true, false),
        Verdict::Replace(data(100, 3))
    );
}

#[test]
fn only_gaps_are_filled_when_too_much_is_unread() {
    let mut gate = gate();
    assert_eq!(gate.incoming(&data(105, 0), true, false), Verdict::Pass);
    assert_eq!(gate.incoming(&data(103, 0), true, true), Verdict::Pass);
    assert!(matches!(
        gate.incoming(&data(106, 0), true, true),
        Verdict::Drop(_)
    ));
}

#[test]
fn a_performed_reset_is_not_performed_again() {
    let mut gate = gate();
    let mut request = 13_u16.to_be_bytes().to_vec();
    request.extend(18_u16.to_be_bytes());
    request.extend(77_u32.to_be_bytes());
    request.extend([0; 8]);
    request.extend(3_u16.to_be_bytes());
    let reset = packet::build([0; 4], 1, packet::RE_CONFIG, 0, &request);
    assert_eq!(gate.incoming(&reset, true, false), Verdict::Pass);
    let value = packet::reset_response(77, packet::PERFORMED);
    let answer = packet::build([2; 4], 9, packet::RE_CONFIG, 0, &value);
    gate.outgoing(answer.clone());
    assert_eq!(gate.incoming(&reset, true, false), Verdict::Reply(answer));
}
